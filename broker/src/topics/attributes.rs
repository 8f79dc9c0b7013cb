//! TopicConfig attributes in the form in which tools change them: `+name=value,-name`.

use std::collections::BTreeMap;

use super::TopicRefused;

const MESSAGE_TYPE: &str = "message.type";

/// Applies changes to the attributes that a topic has. What this broker would not do is refused rather than
/// stored without effect.
pub(super) fn change(
    mut attributes: BTreeMap<String, String>,
    changes: &str,
) -> Result<BTreeMap<String, String>, TopicRefused> {
    for change in changes
        .split(',')
        .map(str::trim)
        .filter(|change| !change.is_empty())
    {
        if let Some(name) = change.strip_prefix('-') {
            attributes.remove(known(name)?);
            continue;
        }
        let Some((name, value)) = change.strip_prefix('+').and_then(|set| set.split_once('='))
        else {
            return Err(refused(change, "is neither +name=value nor -name"));
        };
        let name = known(name)?;
        check(name, value)?;
        attributes.insert(name.to_owned(), value.to_owned());
    }
    Ok(attributes)
}

fn known(name: &str) -> Result<&str, TopicRefused> {
    match name {
        MESSAGE_TYPE | "queue.type" | "cleanup.policy" => Ok(name),
        "reserve.time" => Err(refused(name, "a reserve time per topic is not supported")),
        _ => Err(refused(name, "unknown")),
    }
}

fn check(name: &str, value: &str) -> Result<(), TopicRefused> {
    match (name, value) {
        (MESSAGE_TYPE, "MIXED") => Err(TopicRefused::Mixed),
        (MESSAGE_TYPE, "UNSPECIFIED" | "NORMAL" | "FIFO" | "DELAY" | "TRANSACTION")
        | ("queue.type", "SimpleCQ")
        | ("cleanup.policy", "DELETE") => Ok(()),
        ("queue.type", "BatchCQ") => Err(refused(name, "BatchCQ is not supported")),
        ("cleanup.policy", "COMPACTION") => Err(refused(name, "COMPACTION is not supported")),
        _ => Err(refused(name, "not one of its values")),
    }
}

fn refused(name: &str, reason: &'static str) -> TopicRefused {
    // A peer wrote it; the answer need not echo much of it.
    TopicRefused::Attribute {
        name: name.chars().take(64).collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn changes_add_replace_and_remove() {
        let none = BTreeMap::new();
        assert_eq!(change(none.clone(), ""), Ok(none.clone()));
        let fifo = change(none, "+message.type=FIFO, +queue.type=SimpleCQ").unwrap();
        assert_eq!(
            fifo,
            map(&[("message.type", "FIFO"), ("queue.type", "SimpleCQ")])
        );
        let delay = change(fifo, "+message.type=DELAY,-queue.type").unwrap();
        assert_eq!(delay, map(&[("message.type", "DELAY")]));
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        assert_eq!(
            change(BTreeMap::new(), "+message.type=MIXED"),
            Err(TopicRefused::Mixed)
        );
        for changes in [
            "+queue.type=BatchCQ",
            "+cleanup.policy=COMPACTION",
            "+reserve.time=1",
            "+colour=red",
            "message.type=FIFO",
            "+message.type",
            "+message.type=fifo",
        ] {
            let result = change(BTreeMap::new(), changes);
            assert!(
                matches!(result, Err(TopicRefused::Attribute { .. })),
                "{changes}"
            );
        }
    }
}
