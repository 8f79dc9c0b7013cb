//! What the store needs to know of a message: read once from its topic and properties, by append and by replay alike.

use escrow_protocol::ids::tags_hash;
use escrow_protocol::properties::{Properties, name};

use crate::hash::key_hash;

/// More key words than this are not indexed: the rest of a hostile property string costs nothing.
const KEY_WORDS_MAX: usize = 256;

/// The searchable part of a message's properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Searchable {
    /// Hash of the `TAGS` value as Apache computes it, 0 if there is none.
    pub(crate) tags: i32,
    /// Hash of `UNIQ_KEY`, 0 if there is none.
    pub(crate) unique: u64,
    /// Hashes of the words of `KEYS`.
    pub(crate) words: Vec<u64>,
    /// It has an `ESCROW_DOMAIN`.
    pub(crate) has_domain: bool,
}

impl Searchable {
    /// Reads a property string into `self`, keeping the allocation of `words`.
    pub(crate) fn read(&mut self, properties: &str) {
        self.tags = 0;
        self.unique = 0;
        self.has_domain = false;
        self.words.clear();
        for (name, value) in Properties(properties).iter() {
            match name {
                // Java's String.hashCode is 32 bits wide, so nothing is lost.
                name::TAGS => self.tags = i32::try_from(tags_hash(value)).unwrap_or(0),
                name::UNIQ_KEY => self.unique = key_hash(value),
                name::ESCROW_DOMAIN => self.has_domain = !value.is_empty(),
                name::KEYS => {
                    self.words.clear();
                    let words = value.split(' ').filter(|word| !word.is_empty());
                    self.words.extend(words.take(KEY_WORDS_MAX).map(key_hash));
                }
                _ => {}
            }
        }
    }

    /// All hashes that the message can be found by.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        let unique = (self.unique != 0).then_some(self.unique);
        unique.into_iter().chain(self.words.iter().copied())
    }
}
