//! TEMP
use crate::model::*;
#[derive(Debug, Default)]
pub(super) struct Containers;
impl Containers {
    pub(super) fn knows(&self, _: &ContainerName) -> bool {
        true
    }
    pub(super) fn acting(&self, _: &ContainerName, _: Option<OperationClass>) {}
    pub(super) fn count(&self) -> usize {
        0
    }
}
