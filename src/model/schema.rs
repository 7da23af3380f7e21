//! How values that are written as text are described in `openapi.json`.

use utoipa::openapi::SchemaFormat;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// A type that is written as text, by a regular expression that all of its texts match (ECMA-262, as JSON
/// Schema has it).
pub(crate) trait Text {
    /// What it is.
    const DESCRIPTION: &'static str;
    /// The expression, which may let more through than [`std::str::FromStr`].
    const PATTERN: &'static str;
    /// The name of a format, for texts of which an expression cannot say all.
    const FORMAT: Option<&'static str> = None;

    /// Describes the type.
    fn description() -> Object {
        let format = Self::FORMAT.map(|name| SchemaFormat::Custom(name.to_owned()));
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(Self::DESCRIPTION))
            .pattern(Some(Self::PATTERN))
            .format(format)
            .build()
    }
}

/// Describes types that are written as text.
macro_rules! described {
    ($($type:ty: $description:expr, $pattern:expr $(, $format:expr)?;)+) => {$(
        impl $crate::model::schema::Text for $type {
            const DESCRIPTION: &'static str = $description;
            const PATTERN: &'static str = $pattern;
            $(const FORMAT: Option<&'static str> = Some($format);)?
        }

        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                <Self as $crate::model::schema::Text>::description().into()
            }
        }

        impl utoipa::ToSchema for $type {}
    )+};
}
pub(crate) use described;
