//! The header's `extFields`: a small ordered map of strings.

use std::fmt::{self, Display, Write};
use std::ops::Range;

/// Named string values of a frame's header, in the order in which they were written.
///
/// All text lives in one buffer and a field is a pair of ranges in it: a SEND header with its fourteen
/// fields costs two allocations instead of twenty-eight. What is read from a JSON header points into a copy of
/// the whole. A replaced value leaves its old text behind in the buffer, which is fine for something that lives
/// as long as one request.
#[derive(Clone, Default)]
pub struct ExtFields {
    text: String,
    fields: Vec<Field>,
    /// A bit for each fingerprint present: tells a new name without looking at the old ones.
    present: u64,
}

#[derive(Clone)]
struct Field {
    fingerprint: u32,
    name: Range<usize>,
    value: Range<usize>,
}

/// Tells most names apart in one comparison: length, first, middle and last byte.
fn fingerprint(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let len = bytes.len().to_le_bytes()[0];
    u32::from_le_bytes([
        byte(0),
        byte(bytes.len() / 2),
        byte(bytes.len().saturating_sub(1)),
        len,
    ])
}

/// The fingerprint's bit in [`ExtFields::present`]; one-letter names have one each.
fn bit(fingerprint: u32) -> u64 {
    let [first, middle, last, len] = fingerprint.to_le_bytes();
    1 << ((u32::from(first) + 5 * u32::from(middle ^ last) + 7 * u32::from(len)) % 64)
}

impl ExtFields {
    /// No fields; allocates nothing.
    pub fn new() -> Self {
        ExtFields::default()
    }

    /// No fields yet, and room for so many and for so many bytes of names and values.
    pub fn with_capacity(fields: usize, text: usize) -> Self {
        ExtFields {
            text: String::with_capacity(text),
            fields: Vec::with_capacity(fields),
            present: 0,
        }
    }

    /// No fields yet, but for room for so many, and their text at hand: [`ExtFields::put`] may name places in it.
    pub(super) fn within(text: &str, fields: usize) -> Self {
        let mut ext = ExtFields::with_capacity(fields, 2 * text.len());
        ext.text.push_str(text);
        ext
    }

    /// The value of a field, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.position(name, fingerprint(name))?;
        self.fields.get(at).map(|field| self.slice(&field.value))
    }

    /// Sets a field; the last value given for a name counts.
    pub fn insert(&mut self, name: &str, value: impl AsRef<str>) {
        let start = self.text.len();
        self.text.push_str(value.as_ref());
        self.put(name, None, start..self.text.len());
    }

    /// Sets a field to a number, a bool or whatever else prints itself.
    pub fn insert_display(&mut self, name: &str, value: impl Display) {
        let start = self.text.len();
        // Writing to a String cannot fail; a Display that claims it did leaves what it wrote.
        let _ = write!(self.text, "{value}");
        self.put(name, None, start..self.text.len());
    }

    /// Gives a name to a part of the text. Where the name itself is in the text already, `place` says so.
    pub(super) fn put(&mut self, name: &str, place: Option<usize>, value: Range<usize>) {
        let fingerprint = fingerprint(name);
        if let Some(field) = self
            .position(name, fingerprint)
            .and_then(|at| self.fields.get_mut(at))
        {
            field.value = value;
            return;
        }
        let start = place.unwrap_or(self.text.len());
        if place.is_none() {
            self.text.push_str(name);
        }
        let name = start..start + name.len();
        self.fields.push(Field {
            fingerprint,
            name,
            value,
        });
        self.present |= bit(fingerprint);
    }

    /// The buffer that the next value may be written to, before [`ExtFields::put`] names it.
    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        if let Some(at) = self.position(name, fingerprint(name)) {
            self.fields.remove(at);
        }
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|field| (self.slice(&field.name), self.slice(&field.value)))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True if there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes of text, a lower bound of the encoded size.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    fn position(&self, name: &str, fingerprint: u32) -> Option<usize> {
        if self.present & bit(fingerprint) == 0 {
            return None;
        }
        let is_it =
            |field: &Field| field.fingerprint == fingerprint && self.slice(&field.name) == name;
        self.fields.iter().position(is_it)
    }

    fn slice(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Equal if they hold the same fields, in whatever order: order has no meaning on the wire.
impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for ExtFields {}

impl<'a> FromIterator<(&'a str, &'a str)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> Self {
        let mut ext = ExtFields::new();
        for (name, value) in fields {
            ext.insert(name, value);
        }
        ext
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts_and_order_is_kept() {
        let mut ext = ExtFields::new();
        ext.insert("a", "1");
        ext.insert_display("b", 2);
        ext.insert("a", String::from("3"));
        assert_eq!(ext.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
        assert_eq!(ext.get("a"), Some("3"));
        assert_eq!(ext.get("c"), None);
        ext.remove("a");
        assert_eq!(ext.len(), 1);
        assert_eq!(ext.get("a"), None);
    }

    #[test]
    fn equality_ignores_order() {
        let one: ExtFields = [("a", "1"), ("b", "2")].into_iter().collect();
        let two: ExtFields = [("b", "2"), ("a", "1")].into_iter().collect();
        assert_eq!(one, two);
        assert_ne!(one, [("a", "1")].into_iter().collect());
    }
}
