//! What a consumer group wants of one topic, and whether a message is that.

use escrow_protocol::body::SubscriptionData;
use escrow_protocol::ids::tags_hash;

const ALL: &str = "*";

/// Tags in one expression; the client that writes more of them does not re-filter well either.
const TAGS_MAX: usize = 1024;

/// A subscription to one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topic: String,
    /// As the client wrote it: `*`, or tags separated by `||`.
    pub(crate) expression: String,
    /// The client's clock when it subscribed; a higher one replaces a lower one.
    pub(crate) version: i64,
    /// Empty or `TAG` for tags.
    pub(crate) expression_type: String,
    /// Hashes of the wanted tags, sorted. Empty: everything is wanted.
    codes: Vec<i32>,
}

impl Subscription {
    /// A subscription out of a heartbeat. The hashes that the client computed are used as they are.
    pub(crate) fn from_heartbeat(data: SubscriptionData) -> Subscription {
        let mut codes = data.code_set;
        if is_all(&data.sub_string) {
            codes.clear();
        } else if codes.is_empty() {
            codes = tags(&data.sub_string).map(code).collect();
        }
        codes.sort_unstable();
        Subscription {
            topic: data.topic,
            expression: data.sub_string,
            version: data.sub_version,
            expression_type: data.expression_type,
            codes,
        }
    }

    /// A subscription out of a pull request that carries its own.
    ///
    /// # Errors
    /// The expression holds no tag at all, or absurdly many.
    pub(crate) fn parse(
        topic: &str,
        expression: &str,
        expression_type: &str,
        version: i64,
    ) -> Result<Subscription, &'static str> {
        let mut codes: Vec<i32> = Vec::new();
        if !is_all(expression) {
            codes.extend(tags(expression).take(TAGS_MAX + 1).map(code));
            if codes.is_empty() {
                return Err("the subscription names no tag; use * for all");
            }
            if codes.len() > TAGS_MAX {
                return Err("the subscription names more than 1024 tags");
            }
        }
        codes.sort_unstable();
        Ok(Subscription {
            topic: topic.to_owned(),
            expression: expression.to_owned(),
            version,
            expression_type: expression_type.to_owned(),
            codes,
        })
    }

    /// Whether it filters by tag, which is all that this broker does.
    pub(crate) fn by_tag(&self) -> bool {
        is_tag_type(&self.expression_type)
    }

    /// Whether a message whose consume-queue entry has this tag hash may be wanted. Different tags can share
    /// a hash; clients filter again by the tag's text.
    pub(crate) fn wants(&self, code: i32) -> bool {
        self.codes.is_empty() || self.codes.binary_search(&code).is_ok()
    }
}

/// Whether a subscription of this expression type filters by tag.
pub(crate) fn is_tag_type(expression_type: &str) -> bool {
    expression_type.is_empty() || expression_type == "TAG"
}

fn is_all(expression: &str) -> bool {
    expression.is_empty() || expression == ALL
}

fn tags(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split("||")
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
}

/// The hash as clients compute it, which is 32 bits wide.
fn code(tag: &str) -> i32 {
    #[expect(clippy::cast_possible_truncation)]
    let code = tags_hash(tag) as i32;
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(expression: &str) -> Subscription {
        Subscription::parse("orders", expression, "TAG", 0).unwrap()
    }

    #[test]
    fn a_star_wants_everything() {
        for expression in ["*", ""] {
            assert!(parse(expression).wants(code("TagA")));
            assert!(parse(expression).wants(0));
        }
    }

    #[test]
    fn tags_want_their_own_messages_only() {
        let subscription = parse("TagA || TagB||  ");
        assert!(subscription.wants(code("TagA")));
        assert!(subscription.wants(code("TagB")));
        assert!(!subscription.wants(code("TagC")));
        assert!(!subscription.wants(0), "a message without tag");
        let negative = parse("polygenelubricants2");
        assert!(code("polygenelubricants2") < 0);
        assert!(negative.wants(code("polygenelubricants2")));
    }

    #[test]
    fn an_expression_without_a_tag_is_refused() {
        for expression in ["||", " || ", " "] {
            assert!(
                Subscription::parse("orders", expression, "TAG", 0).is_err(),
                "{expression:?}"
            );
        }
        assert!(Subscription::parse("orders", &"a||".repeat(1025), "TAG", 0).is_err());
    }

    #[test]
    fn hashes_of_a_heartbeat_are_taken_or_computed() {
        let data = |sub_string: &str, code_set: &[i32]| SubscriptionData {
            topic: "orders".into(),
            sub_string: sub_string.into(),
            code_set: code_set.into(),
            ..SubscriptionData::default()
        };
        assert!(Subscription::from_heartbeat(data("TagA", &[7, 3])).wants(3));
        assert!(!Subscription::from_heartbeat(data("TagA", &[7, 3])).wants(code("TagA")));
        assert!(Subscription::from_heartbeat(data("TagA", &[])).wants(code("TagA")));
        assert!(Subscription::from_heartbeat(data("*", &[7])).wants(1));
    }

    #[test]
    fn only_tags_are_filtered_here() {
        assert!(parse("*").by_tag());
        assert!(
            !Subscription::parse("orders", "a > 1", "SQL92", 0)
                .unwrap()
                .by_tag()
        );
    }
}
