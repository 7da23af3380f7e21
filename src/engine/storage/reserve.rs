//! Keeps some room on the disk free.

use super::super::Inner;
use super::room;
use crate::host::disk::Room;
use crate::model::{Code, Problem, Quantity, TaskspaceId};

impl Inner {
    /// Refuses what needs room when there is little left. What is to be copied `of` another taskspace
    /// is counted where copies take room, as far as it is known.
    ///
    /// # Errors
    /// [`Code::InsufficientResources`].
    pub(in super::super) async fn check_reserve(
        &self,
        of: Option<&TaskspaceId>,
    ) -> Result<(), Problem> {
        let (_, capabilities) = self.link.get().await?;
        let Room { available, total, shares_copies, .. } = room(&capabilities).await?;
        let reserve = self.settings().storage.reserve;
        let copied = of.filter(|_| !shares_copies).and_then(|id| self.written.of(id));
        let copied = copied.map_or(Quantity(0), |usage| usage.used);
        let needed = Quantity(reserve.of(Quantity(total)).0.saturating_add(copied.0));
        if available >= needed.0 {
            return Ok(());
        }
        let place = capabilities.volume_path.display();
        let mut detail =
            format!("{} are free at {place}, and {reserve} are to stay so", Quantity(available));
        if copied.0 > 0 {
            detail = format!("{detail} when {copied} are copied");
        }
        Err(Problem::new(Code::InsufficientResources, detail).hint(
            "delete taskspaces, free disk space (`podman system df`), or set a smaller reserve in \
             settings.yaml (`storage: {reserve: …}`)",
        ))
    }
}
