//! Fills a taskspace's changes before its first start.

use super::execute::Performer;
use super::perform::{Acting, make_directories};
use super::problems;
use super::ssh::blocking;
use crate::fault;
use crate::host::files;
use crate::host::git::{Carried, Git, SeedSpec};
use crate::model::{EventBody, Problem};
use crate::plan::SeedPlan;

impl Acting {
    /// Puts what differs from the base into the upper directory: its branch, origin and identity, and
    /// the user's uncommitted changes if these are asked for.
    pub(super) async fn seed_changes(&self, plan: &SeedPlan) -> Result<(), Problem> {
        let upper = plan.changes.join("upper");
        if plan.work_tree.is_some() {
            // An interrupted copy may hold what is not to be there any more. Nobody has used it yet.
            let former = upper.clone();
            blocking(move || files::remove_tree(&former).map_err(|error| problems::file(&error)))
                .await?;
        }
        make_directories(vec![upper.clone()]).await?;
        // What is ignored, and whether the repository is trusted, the caller's settings decide.
        let git = Git::new(self.git.clone());
        let seed = SeedSpec {
            branch: plan.branch.clone(),
            commit: plan.commit.clone(),
            origin_url: plan.origin.clone(),
            push_url: plan.push_url.clone(),
            commits: plan.commits.clone(),
        };
        let told = |error| problems::git(&error);
        git.seed_upper(&plan.base, &upper, seed).await.map_err(told)?;
        let Some(work_tree) = &plan.work_tree else { return Ok(()) };
        let carried = git.carry_changes(work_tree, &plan.commit, &plan.base, &upper).await;
        let Carried { copied, removed, warnings } = carried.map_err(told)?;
        fault::point(|| "seed: uncommitted changes: after".to_owned());
        let line = format!("{copied} changed or untracked files came along, {removed} are deleted");
        self.report(EventBody::Output { line });
        for warning in warnings {
            self.engine.note_warning(&self.id, warning).await?;
        }
        Ok(())
    }
}
