//! What the administrator and the user may decide: parsed, layered and validated. No I/O.

pub mod coordination;
pub mod cycle;
pub mod images;
pub(crate) mod named;
pub mod network;
pub mod pairs;
pub mod project_quotas;
pub mod quota;
pub mod registrations;
pub mod reserve;
pub mod resources;
pub mod restart;
pub mod retention;
pub(crate) mod text;
pub mod yaml;
