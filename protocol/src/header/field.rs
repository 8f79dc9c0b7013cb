//! How one field becomes a value, and the macro that makes a header out of a list of fields.

use crate::frame::ExtFields;

/// What is wrong with a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header field {field} {problem}")]
pub struct HeaderError {
    /// Name of the field on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a header field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is required and not there.
    #[error("is missing")]
    Missing,
    /// Its value is not of its type.
    #[error("must be {expected}, not `{found}`")]
    Malformed {
        /// The type, in words.
        expected: &'static str,
        /// The value, shortened.
        found: String,
    },
}

/// Characters of a wrong value that an error repeats; the peer chose it.
const FOUND_CHARS_MAX: usize = 40;

impl HeaderError {
    pub(super) fn missing(field: &'static str) -> Self {
        HeaderError {
            field,
            problem: Problem::Missing,
        }
    }

    pub(super) fn malformed(field: &'static str, expected: &'static str, found: &str) -> Self {
        let found = found.chars().take(FOUND_CHARS_MAX).collect();
        HeaderError {
            field,
            problem: Problem::Malformed { expected, found },
        }
    }
}

/// A type that a header field can have.
pub(super) trait Value<'a>: Sized {
    /// The type, in words.
    const EXPECTED: &'static str;

    /// Reads the field's text.
    fn parse(text: &'a str) -> Option<Self>;

    /// Writes the field.
    fn put(&self, field: &'static str, ext: &mut ExtFields);

    /// True if the text stands for an absent value: Java's binary header cannot tell the two apart.
    fn is_absent(text: &str) -> bool {
        text.is_empty()
    }
}

impl<'a> Value<'a> for &'a str {
    const EXPECTED: &'static str = "text";

    fn parse(text: &'a str) -> Option<Self> {
        Some(text)
    }

    fn put(&self, field: &'static str, ext: &mut ExtFields) {
        ext.insert(field, self);
    }

    fn is_absent(_: &str) -> bool {
        false
    }
}

impl Value<'_> for i32 {
    const EXPECTED: &'static str = "a 32-bit integer";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn put(&self, field: &'static str, ext: &mut ExtFields) {
        ext.insert(field, itoa::Buffer::new().format(*self));
    }
}

impl Value<'_> for i64 {
    const EXPECTED: &'static str = "a 64-bit integer";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn put(&self, field: &'static str, ext: &mut ExtFields) {
        ext.insert(field, itoa::Buffer::new().format(*self));
    }
}

/// As Java reads it: `true` in any case is true, everything else is false.
impl Value<'_> for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }

    fn put(&self, field: &'static str, ext: &mut ExtFields) {
        ext.insert(field, if *self { "true" } else { "false" });
    }
}

/// A field that may be absent.
pub(super) fn optional<'a, V: Value<'a>>(
    text: Option<&'a str>,
    field: &'static str,
) -> Result<Option<V>, HeaderError> {
    match text {
        Some(text) if !V::is_absent(text) => V::parse(text)
            .map(Some)
            .ok_or_else(|| HeaderError::malformed(field, V::EXPECTED, text)),
        _ => Ok(None),
    }
}

/// A field that must be there.
pub(super) fn required<'a, V: Value<'a>>(
    text: Option<&'a str>,
    field: &'static str,
) -> Result<V, HeaderError> {
    optional(text, field)?.ok_or_else(|| HeaderError::missing(field))
}

/// Declares a header: a struct, its `decode` and its `encode`. See the module above for the keywords.
macro_rules! header {
    (
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {
            $( $(#[$field_doc:meta])* $kind:ident $(($default:expr))? $field:ident: $type:ty = $wire:literal, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $( $(#[$field_doc])* pub $field: header!(@type $kind $type), )*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// Reads the header.
            ///
            /// # Errors
            /// A required field is missing, or a field is malformed.
            pub fn decode(ext: & $($life)? $crate::frame::ExtFields) -> Result<Self, $crate::header::HeaderError> {
                Ok($name {
                    $( $field: header!(@decode ext, $wire, $kind $(($default))?), )*
                })
            }

            /// Adds the header's fields.
            pub fn encode(&self, ext: &mut $crate::frame::ExtFields) {
                $( header!(@encode self.$field, $wire, ext, $kind); )*
            }
        }
    };
    (@type optional $type:ty) => { Option<$type> };
    (@type $kind:ident $type:ty) => { $type };
    (@decode $ext:ident, $wire:literal, required) => {
        $crate::header::field::required($ext.get($wire), $wire)?
    };
    (@decode $ext:ident, $wire:literal, optional) => {
        $crate::header::field::optional($ext.get($wire), $wire)?
    };
    (@decode $ext:ident, $wire:literal, default($default:expr)) => {
        $crate::header::field::optional($ext.get($wire), $wire)?.unwrap_or($default)
    };
    (@encode $value:expr, $wire:literal, $ext:ident, optional) => {
        if let Some(value) = &$value {
            $crate::header::field::Value::put(value, $wire, $ext);
        }
    };
    (@encode $value:expr, $wire:literal, $ext:ident, $kind:ident) => {
        $crate::header::field::Value::put(&$value, $wire, $ext)
    };
}

pub(super) use header;
