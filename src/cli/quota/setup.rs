//! `taskspace quota setup`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Consent, Pools, Whose, limit, owner_problem, problem};
use crate::cli::output::{Output, Stop};
use crate::host::project_quota::{self, Enforcement, FileSystem, Mount, Project};
use crate::model::{Code, Problem, Quantity};
use crate::policy::project_quotas::{IDS_PER_USER, Pool};

/// How many ids get a limit where nothing else is said.
const IDS: u16 = 64;

/// `taskspace quota setup`
#[derive(Debug, Args)]
pub(super) struct Setup {
    #[command(flatten)]
    whose: Whose,
    /// How many taskspaces there may be of each size
    #[arg(long, value_name = "N", default_value_t = IDS, value_parser = ids())]
    ids: u16,
    /// What a taskspace may write, such as 20Gi: what the tiers say, or `create --storage` is given
    /// (can be repeated)
    #[arg(long = "size", value_name = "SIZE", required = true, value_parser = limit)]
    sizes: Vec<Quantity>,
    /// The directory of the user's volumes [default: what the user's Podman says]
    #[arg(long, value_name = "DIR")]
    volumes: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

fn ids() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::from(IDS_PER_USER))
}

impl Setup {
    pub(super) fn run(mut self, pools: &Pools, output: Output) -> Result<(), Stop> {
        let owner = self.whose.owner()?;
        let volumes = match self.volumes.take() {
            Some(volumes) => volumes,
            None => owner.volumes().map_err(owner_problem)?,
        };
        check(&volumes)?;
        let others = pools.all()?;
        let before = pools.of(owner.uid)?;
        let mut pool = before.unwrap_or_else(|| Pool::new(owner.name, owner.uid, PathBuf::new()));
        pool.volumes = volumes;
        let added = self.extend(&mut pool, &others)?;
        output.note(&explanation(&pool, &added, &pools.directory));
        if !self.consent.given()? {
            output.note("nothing was done");
            return Ok(());
        }
        // Recorded before it is done: what is recorded and not yet limited is limited by the next call.
        pools.write(&pool)?;
        for (&id, limit) in &pool.ids {
            project_quota::set_limit(&pool.volumes, id, limit.0).map_err(problem)?;
        }
        verify(&pool)?;
        output.line(&format!("{} has {} ids; {} are new", pool.user, pool.ids.len(), added.len()))
    }

    /// Adds the ids that are missing, and returns them.
    fn extend(&self, pool: &mut Pool, others: &[Pool]) -> Result<Vec<(u32, Quantity)>, Problem> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        let mut missing: Vec<Quantity> = Vec::new();
        for size in sizes {
            let lacks = usize::from(self.ids).saturating_sub(pool.count(size));
            missing.extend(std::iter::repeat_n(size, lacks));
        }
        let mut added = Vec::new();
        for id in pool.candidates(others) {
            if added.len() == missing.len() {
                break;
            }
            // Somebody else may number projects, too.
            if project_quota::project(&pool.volumes, id).map_err(problem)? == Project::default() {
                added.push((id, missing[added.len()]));
            }
        }
        if added.len() < missing.len() {
            let detail = format!(
                "{} ids are wanted, and only {} of the user's {IDS_PER_USER} are free",
                missing.len(),
                added.len()
            );
            return Err(Problem::new(Code::InsufficientResources, detail)
                .hint("ask for fewer (--ids), or begin anew after `taskspace quota remove`"));
        }
        pool.ids.extend(added.iter().copied());
        Ok(added)
    }
}

/// Checks whether the file system of a directory limits projects, and says what to do where not.
fn check(volumes: &Path) -> Result<(), Problem> {
    if !volumes.is_dir() {
        let detail = format!("there is no directory {}", volumes.display());
        return Err(Problem::new(Code::NotFound, detail)
            .hint("the user's first `podman volume create` makes it"));
    }
    let kind = project_quota::file_system(volumes).map_err(problem)?;
    let state = match kind {
        FileSystem::Other => Enforcement::Off,
        FileSystem::Ext4 | FileSystem::Xfs => {
            project_quota::enforcement(volumes).map_err(problem)?
        }
    };
    let mount = project_quota::mount(volumes).map_err(problem)?;
    let mount = mount.unwrap_or_else(|| Mount { point: "/".into(), device: "?".to_owned() });
    match advice(kind, state, &mount) {
        None => Ok(()),
        Some((lacks, advice)) => {
            let detail = format!("{} {lacks}", volumes.display());
            Err(Problem::new(Code::PolicyUnenforceable, detail).hint(advice))
        }
    }
}

/// Returns what a file system lacks, and what the administrator has to do about it.
fn advice(kind: FileSystem, state: Enforcement, mount: &Mount) -> Option<(&'static str, String)> {
    let (device, point) = (&mount.device, mount.point.display());
    let is_root = mount.point == Path::new("/");
    let mounted_anew = match is_root {
        true => format!("add `prjquota` to the options of {point} in /etc/fstab, and reboot"),
        false => format!(
            "add `prjquota` to the options of {point} in /etc/fstab, then `umount {point}` and \
             `mount {point}` (a remount is not enough)"
        ),
    };
    match (kind, state) {
        (FileSystem::Ext4 | FileSystem::Xfs, Enforcement::On) => None,
        (FileSystem::Ext4, Enforcement::Counted) => {
            Some(("is on an ext4 that counts by projects and does not limit them", mounted_anew))
        }
        (FileSystem::Ext4, Enforcement::Off) => {
            let unmounted = match is_root {
                true => "from a rescue system".to_owned(),
                false => format!("after `umount {point}`"),
            };
            Some((
                "is on an ext4 without project quotas",
                format!(
                    "{unmounted}: `tune2fs -O project,quota -Q prjquota {device}`; then \
                     {mounted_anew}"
                ),
            ))
        }
        (FileSystem::Xfs, Enforcement::Counted | Enforcement::Off) => Some((
            "is on an XFS that is mounted without project quotas",
            match is_root {
                true => {
                    "add `rootflags=prjquota` to the kernel's command line, and reboot".to_owned()
                }
                false => mounted_anew,
            },
        )),
        (FileSystem::Other, _) => Some((
            "is on a file system that limits no projects",
            "only XFS and ext4 do; put the volumes on one of these (`volume_path` in \
             containers.conf), or leave it: storage is measured then"
                .to_owned(),
        )),
    }
}

/// Says what is about to be done.
fn explanation(pool: &Pool, added: &[(u32, Quantity)], directory: &Path) -> String {
    let Pool { user, volumes, .. } = pool;
    let mut text = format!(
        "Taskspaces of {user} have their volumes in {}. Each one that gets an id there is held to \
         the id's limit by the file system itself.\n",
        volumes.display()
    );
    let mut rest = added;
    while let Some(&(first, size)) = rest.first() {
        let count = rest.iter().take_while(|(_, own)| *own == size).count();
        let (run, others) = rest.split_at(count);
        let last = run.last().map_or(first, |(id, _)| *id);
        text += &format!("- {count} new ids, {first} to {last}, get a limit of {size} each.\n");
        rest = others;
    }
    let known = pool.ids.len() - added.len();
    if known > 0 {
        text += &format!("- {known} ids that are there keep their limits.\n");
    }
    text + &format!(
        "- {}/{}.yaml says so.\nFiles are neither changed nor moved, and nobody else's are limited.",
        directory.display(),
        pool.uid
    )
}

/// Makes sure that limits are seen where taskspaces will look for them.
fn verify(pool: &Pool) -> Result<(), Problem> {
    // The greatest one: a file system that is smaller limits nothing by it.
    let Some((&id, limit)) = pool.ids.iter().max_by_key(|(_, limit)| **limit) else {
        return Ok(());
    };
    if project_quota::is_in_force(&pool.volumes, id, limit.0).map_err(problem)? {
        return Ok(());
    }
    let detail = format!("the limit of {limit} is set and not in force");
    Err(Problem::new(Code::PolicyUnenforceable, detail)
        .hint("is the file system smaller than that?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_lacks_is_said_with_what_to_do() {
        let data = Mount { point: "/srv".into(), device: "/dev/vdb".to_owned() };
        let root = Mount { point: "/".into(), device: "/dev/vda".to_owned() };
        let hint = |kind, state, mount| advice(kind, state, mount).map(|(_, hint)| hint);
        assert_eq!(hint(FileSystem::Ext4, Enforcement::On, &data), None);
        assert_eq!(hint(FileSystem::Xfs, Enforcement::On, &root), None);
        insta::assert_snapshot!(
            hint(FileSystem::Ext4, Enforcement::Off, &data).unwrap(),
            @"after `umount /srv`: `tune2fs -O project,quota -Q prjquota /dev/vdb`; then add `prjquota` to the options of /srv in /etc/fstab, then `umount /srv` and `mount /srv` (a remount is not enough)"
        );
        insta::assert_snapshot!(
            hint(FileSystem::Ext4, Enforcement::Off, &root).unwrap(),
            @"from a rescue system: `tune2fs -O project,quota -Q prjquota /dev/vda`; then add `prjquota` to the options of / in /etc/fstab, and reboot"
        );
        insta::assert_snapshot!(
            hint(FileSystem::Xfs, Enforcement::Off, &root).unwrap(),
            @"add `rootflags=prjquota` to the kernel's command line, and reboot"
        );
        assert!(hint(FileSystem::Other, Enforcement::Off, &data).unwrap().contains("measured"));
    }

    #[test]
    fn it_is_explained_before_it_is_done() {
        let (small, large) = (Quantity(1 << 30), Quantity(20 << 30));
        let mut pool = Pool::new("dev".to_owned(), 1000, "/srv/volumes".into());
        pool.ids = (1..=5).map(|id| (id, small)).collect();
        let added = [(2, small), (3, small), (4, small), (5, large)];
        insta::assert_snapshot!(explanation(&pool, &added, Path::new("/etc/q")), @r"
        Taskspaces of dev have their volumes in /srv/volumes. Each one that gets an id there is held to the id's limit by the file system itself.
        - 3 new ids, 2 to 4, get a limit of 1Gi each.
        - 1 new ids, 5 to 5, get a limit of 20Gi each.
        - 1 ids that are there keep their limits.
        - /etc/q/1000.yaml says so.
        Files are neither changed nor moved, and nobody else's are limited.
        ");
    }
}
