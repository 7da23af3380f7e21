//! `taskspace quota resize` and `taskspace quota remove`

use clap::Args;

use super::{Consent, Pools, Whose, limit, problem};
use crate::cli::output::{Output, Stop};
use crate::host::project_quota;
use crate::model::{Code, Problem, Quantity};
use crate::policy::project_quotas::Pool;

/// `taskspace quota resize`
#[derive(Debug, Args)]
pub(super) struct Resize {
    /// The id, as `taskspace quota show` tells it
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    id: u32,
    /// What the taskspace that uses it may write, such as 30Gi
    #[arg(value_name = "SIZE", value_parser = limit)]
    size: Quantity,
}

impl Resize {
    pub(super) fn run(self, pools: &Pools, output: Output) -> Result<(), Stop> {
        let Self { id, size } = self;
        let has = |pool: &Pool| pool.ids.contains_key(&id);
        let Some(mut pool) = pools.all()?.into_iter().find(has) else {
            return Err(Problem::new(Code::NotFound, format!("no id {id} is prepared"))
                .hint("`taskspace quota show` lists those that are")
                .into());
        };
        pool.ids.insert(id, size);
        pools.write(&pool)?;
        project_quota::set_limit(&pool.volumes, id, size.0).map_err(problem)?;
        output.line(&format!("{id} of {} has a limit of {size}", pool.user))
    }
}

/// `taskspace quota remove`
#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    whose: Whose,
    /// Also while taskspaces use them: from then on these are measured
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Remove {
    pub(super) fn run(self, pools: &Pools, output: Output) -> Result<(), Stop> {
        let owner = self.whose.owner()?;
        let Some(pool) = pools.of(owner.uid)? else {
            output.note(&format!("nothing is prepared for {}", owner.name));
            return Ok(());
        };
        let mut used = Vec::new();
        for &id in pool.ids.keys() {
            if project_quota::project(&pool.volumes, id).map_err(problem)?.used > 0 {
                used.push(id.to_string());
            }
        }
        if !used.is_empty() && !self.force {
            let detail = format!("taskspaces of {} use {}", pool.user, used.join(", "));
            return Err(Problem::new(Code::StateConflict, detail)
                .hint("have them deleted first, or add --force: they are measured then")
                .into());
        }
        output.note(&format!("The {} ids of {} lose their limits.", pool.ids.len(), pool.user));
        if !self.consent.given()? {
            output.note("nothing was done");
            return Ok(());
        }
        for &id in pool.ids.keys() {
            project_quota::set_limit(&pool.volumes, id, 0).map_err(problem)?;
        }
        pools.remove(owner.uid)?;
        output.line(&format!("nothing is prepared for {} any more", pool.user))
    }
}
