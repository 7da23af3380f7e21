//! Has the file system itself hold taskspaces to their storage, where that is prepared.
//!
//! A taskspace gets an id when it is entered into the registry, so that no other one does, and its
//! volumes get it while there is nothing in them. What is then seen of the limit decides: an id
//! without one holds nothing, and the taskspace is measured like others.

use std::collections::BTreeSet;
use std::path::Path;

use super::Inner;
use super::perform::Acting;
use super::ssh::blocking;
use crate::host::project_quota::{self, ProjectQuotaError};
use crate::model::{Code, Document, LimitSource, Problem, Quantity, Record, Storage, TaskspaceId};
use crate::plan::capability::Capabilities;
use crate::plan::{HoldPlan, names};
use crate::policy::project_quotas::Pool;

/// The ids that an administrator has prepared for this user, and those of them that are in use.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pool: Option<Pool>,
    /// The ids that volumes have: another registry on the same volumes takes from the same pool.
    in_use: BTreeSet<u32>,
    /// Why nobody can tell what is prepared.
    trouble: Option<String>,
}

impl Inner {
    /// Looks at what is prepared.
    pub(super) async fn prepared_quotas(
        &self,
        capabilities: &Capabilities,
    ) -> Result<Prepared, Problem> {
        let (directory, volumes) =
            (self.paths.project_quotas.clone(), capabilities.volume_path.clone());
        blocking(move || {
            Ok(look(&directory, &volumes).unwrap_or_else(|error| Prepared {
                trouble: Some(error.to_string()),
                ..Prepared::default()
            }))
        })
        .await
    }
}

impl Inner {
    /// Takes over what the file system shows of all taskspaces that it holds to their storage.
    pub(super) async fn confirm_quotas(&self) {
        let Ok(document) = self.document().await else { return };
        for (id, record) in &document.taskspaces {
            if let Err(problem) = self.confirm_quota(id, record).await {
                tracing::debug!(%id, "cannot look at its project quota: {problem}");
            }
        }
    }

    /// Takes over what the file system shows of a taskspace, if that holds it to its storage: root may
    /// have changed the limit, or taken it away. Returns what is in use of it.
    pub(super) async fn confirm_quota(
        &self,
        id: &TaskspaceId,
        record: &Record,
    ) -> Result<Option<Quantity>, Problem> {
        let held = record.storage.as_ref().and_then(|it| Some((it.hard?, it.limit)));
        let Some((project, limit)) = held.filter(|_| !record.is_half_made()) else {
            return Ok(None);
        };
        let (_, capabilities) = self.link.get().await?;
        let changes = capabilities.volume_directory(&names::changes_volume(id));
        let look = move || {
            let has_id = project_quota::id(&changes)? == project;
            Ok((
                has_id,
                project_quota::space(&changes)?,
                project_quota::space(&capabilities.volume_path)?,
            ))
        };
        let seen =
            blocking(move || Ok(look().map_err(|error: ProjectQuotaError| error.to_string())));
        let (has_id, own, whole) = match seen.await? {
            Ok(seen) => seen,
            Err(reason) => return Err(Problem::new(Code::Internal, reason)),
        };
        if !has_id || own.limit == whole.limit {
            let reason = format!("the project quota {project} has lost its limit");
            self.give_up_quota(id, &reason).await?;
            return Ok(None);
        }
        if !own.is_limited_to(limit.0) {
            self.change(id, move |record| {
                if let Some(storage) = &mut record.storage {
                    (storage.limit, storage.source) = (Quantity(own.limit), LimitSource::Request);
                }
                Ok(())
            })
            .await?;
        }
        Ok(Some(Quantity(own.used)))
    }

    /// Records that a taskspace is measured from now on.
    async fn give_up_quota(&self, id: &TaskspaceId, reason: &str) -> Result<(), Problem> {
        self.change(id, |record| {
            if let Some(storage) = &mut record.storage {
                storage.hard = None;
            }
            Ok(())
        })
        .await?;
        self.note_warning(id, measured(reason)).await
    }
}

fn look(directory: &Path, volumes: &Path) -> Result<Prepared, ProjectQuotaError> {
    let Some(pool) = project_quota::read_own(directory)? else {
        return Ok(Prepared::default());
    };
    let in_use = project_quota::ids_of_volumes(volumes)?;
    Ok(Prepared { pool: Some(pool), in_use, trouble: None })
}

impl Prepared {
    /// Gives a new taskspace an id that is free and serves its limit, if there is one.
    ///
    /// # Errors
    /// When there is none, and it must not be made then.
    pub(super) fn give_id(
        &self,
        mut storage: Storage,
        document: &Document,
        warnings: &mut Vec<String>,
    ) -> Result<Storage, Problem> {
        let taken = |id: u32| {
            let has = |storage: &Storage| storage.hard == Some(id);
            self.in_use.contains(&id)
                || document.taskspaces.values().any(|it| it.storage.as_ref().is_some_and(has))
        };
        if let Some((id, limit)) = self.pool.as_ref().and_then(|it| it.pick(storage.limit, taken)) {
            (storage.hard, storage.limit) = (Some(id), limit);
            return Ok(storage);
        }
        let reason = match (&self.trouble, &self.pool) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(_)) => format!("no project quota of {} is free", storage.limit),
            (None, None) => "no project quotas are prepared".to_owned(),
        };
        if storage.only_hard {
            return Err(unenforceable(&reason, storage.limit));
        }
        // Where nothing is prepared, nobody expects it.
        if self.pool.is_some() || self.trouble.is_some() {
            warnings.push(measured(&reason));
        }
        Ok(storage)
    }
}

impl Acting {
    /// Gives a volume that is still empty the taskspace's project id.
    pub(super) async fn hold(&self, plan: &HoldPlan) -> Result<(), Problem> {
        let HoldPlan { directory, id, limit } = plan.clone();
        let record = self.engine.record(&self.id).await?;
        let Some(storage) = record.storage.filter(|storage| storage.hard == Some(id)) else {
            // An earlier volume has shown that it is not limited.
            return Ok(());
        };
        let held = blocking(move || Ok(assign(&directory, id, limit))).await?;
        let reason = match held {
            Ok(true) => return Ok(()),
            Ok(false) => format!("the project quota {id} is not limited to {limit}"),
            Err(error) => error.to_string(),
        };
        if storage.only_hard {
            return Err(unenforceable(&reason, limit));
        }
        self.engine.give_up_quota(&self.id, &reason).await
    }
}

/// Gives a directory an id, and tells whether the limit is seen there; otherwise it has none again.
fn assign(directory: &Path, id: u32, limit: Quantity) -> Result<bool, ProjectQuotaError> {
    project_quota::assign(directory, id)?;
    let is_limited = project_quota::space(directory)?.is_limited_to(limit.0);
    if !is_limited {
        project_quota::assign(directory, 0)?;
    }
    Ok(is_limited)
}

fn measured(reason: &str) -> String {
    format!("its storage is measured, not limited by the file system: {reason}")
}

fn unenforceable(reason: &str, limit: Quantity) -> Problem {
    Problem::new(Code::PolicyUnenforceable, format!("the storage cannot be limited: {reason}"))
        .hint(format!(
            "have your administrator run `sudo taskspace quota setup --user $USER --size {limit}`, \
             or leave out --hard"
        ))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::OnFull;

    const GI: Quantity = Quantity(1 << 30);

    fn prepared(in_use: &[u32]) -> Prepared {
        let mut pool = Pool::new("u".to_owned(), 1000, "/v".into());
        pool.ids = (1..=3).map(|id| (id, GI)).collect();
        Prepared { pool: Some(pool), in_use: in_use.iter().copied().collect(), trouble: None }
    }

    fn storage(limit: Quantity, only_hard: bool) -> Storage {
        Storage { only_hard, ..Storage::new(limit, LimitSource::Request, OnFull::Warn) }
    }

    #[test]
    fn an_id_is_given_that_neither_a_taskspace_nor_a_volume_has() {
        let mut document = Document::new(Uuid::nil());
        let held = Storage { hard: Some(1), ..storage(GI, false) };
        let record = Record { storage: Some(held), ..Record::example() };
        document.taskspaces.insert("a".parse().unwrap(), record.into());
        let give = |prepared: Prepared, limit| {
            let mut warnings = Vec::new();
            let given = prepared.give_id(storage(limit, false), &document, &mut warnings).unwrap();
            (given.hard, given.limit, warnings.len())
        };
        assert_eq!(give(prepared(&[2]), GI), (Some(3), GI, 0));
        assert_eq!(give(prepared(&[2, 3]), GI), (None, GI, 1));
        // The limit is what the id holds to.
        let little_more = Quantity(GI.0 + GI.0 / 20);
        assert_eq!(give(prepared(&[]), little_more), (Some(2), GI, 0));
        assert_eq!(give(Prepared::default(), GI), (None, GI, 0));
    }

    #[test]
    fn what_must_be_hard_is_refused_where_it_cannot_be() {
        let document = Document::new(Uuid::nil());
        let refused = |prepared: Prepared| {
            let given = prepared.give_id(storage(GI, true), &document, &mut Vec::new());
            let problem = given.unwrap_err();
            assert_eq!(problem.code, Code::PolicyUnenforceable);
            problem.detail
        };
        let head = "the storage cannot be limited:";
        assert_eq!(
            refused(prepared(&[1, 2, 3])),
            format!("{head} no project quota of 1Gi is free")
        );
        assert_eq!(refused(Prepared::default()), format!("{head} no project quotas are prepared"));
        let trouble = Prepared { trouble: Some("x is wrong".to_owned()), ..Prepared::default() };
        assert_eq!(refused(trouble), format!("{head} x is wrong"));
    }
}
