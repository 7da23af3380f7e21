//! Who may act now, who waits, and who is refused. Pure: no clock, no tokio, no locks.

pub mod admission;
pub mod dependencies;
mod places;

pub use admission::{Admission, Admitted, Answer, Ask, Meeting, Refusal, Waits};
pub use dependencies::{Cycle, Dependencies};
