//! The property string of a message: `name 0x01 value 0x02`, repeated (class `MessageDecoder`).
//!
//! There is no escaping: a name or value that holds one of the two separators would turn into other
//! properties, see [`is_clean`]. The last 0x02 may be missing; entries without name or without value do
//! not count; of two entries with one name the later counts. All as in Apache's reader.

pub mod name;

use memchr::{memchr, memchr2};

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// Behind a value.
pub const PROPERTY_SEPARATOR: char = '\u{2}';
/// The longest property string that a record can hold, in bytes.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

/// True if `text` can be a name or a value: it has none of the two separators.
pub fn is_clean(text: &str) -> bool {
    !text.contains([NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR])
}

/// A borrowed property string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a>(pub &'a str);

impl<'a> Properties<'a> {
    /// The value of a property, if it is there.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter()
            .filter(|(known, _)| *known == name)
            .last()
            .map(|(_, value)| value)
    }

    /// All properties in the order in which they were written; a name may come twice.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = Some(self.0);
        let entries = std::iter::from_fn(move || {
            let (entry, behind) = split_entry(rest.take()?);
            rest = behind;
            Some(entry)
        });
        entries.flatten()
    }

    /// True if the property is there and `true`, in any case.
    pub fn is_true(self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The words of `KEYS` under which a message can be found.
    pub fn keys(self) -> impl Iterator<Item = &'a str> {
        self.get(name::KEYS)
            .unwrap_or_default()
            .split(' ')
            .filter(|key| !key.is_empty())
    }
}

/// The first entry of a property string, unless it does not count, and what is behind its separator. One pass over the bytes:
/// every message's properties are read several times on their way.
fn split_entry(text: &str) -> (Option<(&str, &str)>, Option<&str>) {
    let bytes = text.as_bytes();
    let Some(first) = memchr2(b'\x01', b'\x02', bytes) else {
        return (None, None);
    };
    // Both separators are ASCII, so what is beside them begins and ends at character boundaries.
    let (name, rest) = (text.get(..first).unwrap_or_default(), text.get(first + 1..));
    if bytes.get(first) == Some(&b'\x02') {
        return (None, rest);
    }
    let rest = rest.unwrap_or_default();
    let (value, behind) = match memchr(b'\x02', rest.as_bytes()) {
        Some(end) => (rest.get(..end).unwrap_or_default(), rest.get(end + 1..)),
        None => (rest, None),
    };
    let counts = !name.is_empty() && !value.is_empty();
    (counts.then_some((name, value)), behind)
}

/// A name or value that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("property {name:?}: name or value is empty or has a separator character (U+0001, U+0002)")]
pub struct PropertyError {
    /// Name of the offending property.
    pub name: String,
}

/// An owned property string under construction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertiesBuilder {
    text: String,
}

impl PropertiesBuilder {
    /// Starts empty.
    pub fn new() -> Self {
        PropertiesBuilder::default()
    }

    /// Starts from a property string, as a peer sent it.
    pub fn from_text(text: impl Into<String>) -> Self {
        PropertiesBuilder { text: text.into() }
    }

    /// What is there so far.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.text)
    }

    /// Sets a property, in place of an earlier value.
    ///
    /// # Errors
    /// Name or value is empty or holds a separator.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PropertyError> {
        if name.is_empty() || value.is_empty() || !is_clean(name) || !is_clean(value) {
            return Err(PropertyError {
                name: name.to_owned(),
            });
        }
        self.remove(name);
        append(&mut self.text, name, value);
        Ok(())
    }

    /// Removes a property, however often it is there.
    pub fn remove(&mut self, name: &str) {
        remove(&mut self.text, name);
    }

    /// The property string.
    pub fn finish(self) -> String {
        self.text
    }
}

/// Appends a property without looking whether it is there already: what comes last counts. The caller
/// vouches that name and value are clean ([`is_clean`]) and not empty.
pub fn append(text: &mut String, name: &str, value: &str) {
    if is_open(text) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.reserve(name.len() + value.len() + 2);
    text.push_str(name);
    text.push(NAME_VALUE_SEPARATOR);
    text.push_str(value);
    text.push(PROPERTY_SEPARATOR);
}

/// Whether a property string ends without the separator that must stand before the next property.
pub(crate) fn is_open(text: &str) -> bool {
    !text.is_empty() && !text.ends_with(PROPERTY_SEPARATOR)
}

/// Removes a property, however often it is there; the rest stays byte for byte.
pub fn remove(text: &mut String, name: &str) {
    let is_it = |entry: &str| {
        let bare = entry.strip_suffix(PROPERTY_SEPARATOR).unwrap_or(entry);
        bare.split_once(NAME_VALUE_SEPARATOR)
            .is_some_and(|(known, _)| known == name)
    };
    if text.split_inclusive(PROPERTY_SEPARATOR).any(is_it) {
        *text = text
            .split_inclusive(PROPERTY_SEPARATOR)
            .filter(|entry| !is_it(entry))
            .collect();
    }
}

/// Removes the property, then appends it; for values that are known to be clean.
pub fn set(text: &mut String, name: &str, value: &str) {
    remove(text, name);
    append(text, name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        assert_eq!(
            Properties(text).iter().collect::<Vec<_>>(),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn reading_is_as_tolerant_as_apache() {
        check("", &[]);
        check("a\u{1}1\u{2}b\u{1}2\u{2}", &[("a", "1"), ("b", "2")]);
        check("a\u{1}1\u{2}b\u{1}2", &[("a", "1"), ("b", "2")]);
        check("a\u{1}\u{2}\u{1}2\u{2}bc\u{2}d\u{1}4\u{2}", &[("d", "4")]);
        check("long name\u{1}\u{2}", &[]);
        check("a\u{1}1\u{1}2\u{2}", &[("a", "1\u{1}2")]);
        check("\u{2}\u{2}a\u{1}1\u{2}", &[("a", "1")]);
    }

    #[test]
    fn the_later_of_two_values_counts() {
        let properties = Properties("a\u{1}1\u{2}b\u{1}x\u{2}a\u{1}2\u{2}");
        assert_eq!(properties.get("a"), Some("2"));
        assert_eq!(properties.get("c"), None);
    }

    #[test]
    fn flags_and_keys_are_found() {
        let properties = Properties("TRAN_MSG\u{1}True\u{2}KEYS\u{1} one  two \u{2}");
        assert!(properties.is_true(name::TRAN_MSG));
        assert!(!properties.is_true(name::WAIT));
        assert_eq!(properties.keys().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(Properties("").keys().count(), 0);
    }

    #[test]
    fn setting_replaces_and_removing_removes_every_copy() {
        let mut builder = PropertiesBuilder::from_text("a\u{1}1\u{2}b\u{1}2\u{2}a\u{1}3");
        builder.set("b", "4").unwrap();
        assert_eq!(builder.as_properties().get("b"), Some("4"));
        builder.remove("a");
        assert_eq!(builder.finish(), "b\u{1}4\u{2}");
    }

    #[test]
    fn an_open_last_entry_is_closed_before_the_next() {
        let mut text = "a\u{1}1".to_owned();
        append(&mut text, "b", "2");
        assert_eq!(text, "a\u{1}1\u{2}b\u{1}2\u{2}");
    }

    #[test]
    fn separators_cannot_be_smuggled_in() {
        let mut builder = PropertiesBuilder::new();
        for (name, value) in [
            ("a", "1\u{2}TRAN_MSG\u{1}true"),
            ("a\u{1}b", "1"),
            ("", "1"),
            ("a", ""),
        ] {
            assert!(builder.set(name, value).is_err(), "{name:?} {value:?}");
        }
        assert_eq!(builder.finish(), "");
    }
}
