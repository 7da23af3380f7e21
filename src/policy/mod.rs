//! What the administrator and the user may decide: parsed, layered and validated. No I/O.

pub mod images;
pub mod restart;
pub(crate) mod text;
