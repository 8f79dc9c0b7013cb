//! What is wanted of a topic.

use std::time::{SystemTime, UNIX_EPOCH};

use escrow_protocol::body::SubscriptionData;
use escrow_protocol::ids;

use crate::message::ReceivedMessage;

/// A topic and the tags wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    data: SubscriptionData,
}

impl Subscription {
    /// Everything of a topic.
    #[must_use]
    pub fn all(topic: impl Into<String>) -> Self {
        Self::tags(topic, "*")
    }

    /// The messages of a topic whose tag is named by `expression`: `A`, or `A || B`, or `*` for all.
    #[must_use]
    pub fn tags(topic: impl Into<String>, expression: &str) -> Self {
        let wanted = expression.trim();
        let tags: Vec<String> = if wanted == "*" {
            Vec::new()
        } else {
            let tags = wanted.split("||").map(str::trim);
            tags.filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let hash = |tag: &String| i32::try_from(ids::tags_hash(tag)).ok();
        Self {
            data: SubscriptionData {
                topic: topic.into(),
                sub_string: if tags.is_empty() {
                    "*".to_owned()
                } else {
                    tags.join(" || ")
                },
                code_set: tags.iter().filter_map(hash).collect(),
                tags_set: tags,
                sub_version: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
                expression_type: "TAG".to_owned(),
                ..SubscriptionData::default()
            },
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.data.topic
    }

    pub(super) fn data(&self) -> &SubscriptionData {
        &self.data
    }

    /// The broker compares hashes only; the tag itself decides.
    pub(super) fn wants(&self, message: &ReceivedMessage) -> bool {
        let tags = &self.data.tags_set;
        tags.is_empty()
            || message
                .tag()
                .is_some_and(|tag| tags.iter().any(|t| t == tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_names_tags_with_their_hashes() {
        for all in [" * ", "", "||"] {
            let all = Subscription::tags("T", all);
            assert!(all.data.tags_set.is_empty());
            assert_eq!(all.data.sub_string, "*");
        }
        let some = Subscription::tags("T", "TagA||  B ");
        assert_eq!(some.data.tags_set, ["TagA", "B"]);
        assert_eq!(some.data.code_set, [2_598_919, 66]);
        assert_eq!(some.data.sub_string, "TagA || B");
    }
}
