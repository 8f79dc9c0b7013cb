//! Which database knows what became of a half.
//!
//! A tombstone in the wrong database would roll back what another one committed. So a half is asked of the one
//! database that it names, and of none if that is in doubt.

use crate::database::Domain;

use super::Untagged;

/// What a half says of its database.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tags<'a> {
    pub(super) domain: Option<&'a str>,
    pub(super) shard: Option<&'a str>,
}

/// One database of a group, as far as choosing is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) shard: Option<&'a str>,
    /// Which of the server's databases it is: two shards may lie in one.
    pub(super) database: usize,
    /// Which one it is by its own account; none while it is out of reach.
    pub(super) domain: Option<Domain>,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// The database at this place of the group.
    Ask {
        place: usize,
        domain: Option<Domain>,
        may_tombstone: bool,
    },
    /// Every place, without ruling anything out: a row in any of them is a commit.
    LookEverywhere,
    /// Nobody: a keyword and an explanation.
    Nobody(&'static str, String),
}

pub(super) fn choose(tags: Tags<'_>, places: &[Place<'_>], untagged: Untagged) -> Choice {
    let domain = match tags.domain.map(str::parse::<Domain>) {
        Some(Err(error)) => {
            return Choice::Nobody("wrong_domain", format!("ESCROW_DOMAIN is no UUID: {error}"));
        }
        Some(Ok(domain)) => Some(domain),
        None => None,
    };
    let ask = |place| Choice::Ask {
        place,
        domain,
        may_tombstone: domain.is_some() || untagged == Untagged::Decide,
    };
    if let Some(shard) = tags.shard {
        return match places.iter().position(|place| place.shard == Some(shard)) {
            Some(place) => ask(place),
            None => Choice::Nobody("unknown_shard", format!("no database for shard {shard:?}")),
        };
    }
    let first = places.first().map(|place| place.database);
    if places.iter().all(|place| Some(place.database) == first) {
        // Whether it is the right one is for the database itself to say, in the transaction that decides.
        return ask(0);
    }
    match domain {
        Some(domain) => by_domain(domain, places, ask),
        None => Choice::LookEverywhere,
    }
}

fn by_domain(domain: Domain, places: &[Place<'_>], ask: impl Fn(usize) -> Choice) -> Choice {
    let mut found = None;
    for (index, place) in places.iter().enumerate() {
        if place.domain != Some(domain) {
            continue;
        }
        match found {
            None => found = Some((index, place.database)),
            Some((_, database)) if database == place.database => {}
            Some(_) => {
                let why = format!(
                    "two databases are {domain}: one is a copy, run `escrow migrate --adopt` on it"
                );
                return Choice::Nobody("ambiguous_domain", why);
            }
        }
    }
    match found {
        Some((index, _)) => ask(index),
        None if places.iter().any(|place| place.domain.is_none()) => Choice::Nobody(
            "db_unreachable",
            format!("database {domain} may be one that is out of reach"),
        ),
        None => Choice::Nobody(
            "wrong_domain",
            format!("the half names database {domain}, which is none of this group's"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "11111111-1111-4111-8111-111111111111";
    const B: &str = "22222222-2222-4222-8222-222222222222";
    const C: &str = "33333333-3333-4333-8333-333333333333";

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    fn place<'a>(shard: &'a str, database: usize, domain_of: &str) -> Place<'a> {
        Place {
            shard: (!shard.is_empty()).then_some(shard),
            database,
            domain: (!domain_of.is_empty()).then(|| domain(domain_of)),
        }
    }

    fn tags<'a>(domain: &'a str, shard: &'a str) -> Tags<'a> {
        Tags {
            domain: (!domain.is_empty()).then_some(domain),
            shard: (!shard.is_empty()).then_some(shard),
        }
    }

    fn asked(place: usize, of: &str, may_tombstone: bool) -> Choice {
        Choice::Ask {
            place,
            domain: (!of.is_empty()).then(|| domain(of)),
            may_tombstone,
        }
    }

    #[track_caller]
    fn nobody(choice: Choice, expected: &str) {
        assert!(
            matches!(choice, Choice::Nobody(keyword, _) if keyword == expected),
            "{choice:?}"
        );
    }

    #[test]
    fn the_only_database_is_asked_and_says_itself_whether_it_is_the_right_one() {
        let only = [place("", 0, A)];
        let commit = Untagged::CommitOnly;
        assert_eq!(choose(tags(A, ""), &only, commit), asked(0, A, true));
        assert_eq!(choose(tags(B, ""), &only, commit), asked(0, B, true));
        nobody(choose(tags("x", ""), &only, commit), "wrong_domain");
        nobody(choose(tags(A, "eu"), &only, commit), "unknown_shard");
    }

    #[test]
    fn without_a_domain_nothing_is_ruled_out_unless_it_was_said_so() {
        let only = [place("", 0, A)];
        let says = |untagged| choose(tags("", ""), &only, untagged);
        assert_eq!(says(Untagged::CommitOnly), asked(0, "", false));
        assert_eq!(says(Untagged::Decide), asked(0, "", true));
        let sharded = [place("eu", 0, A), place("us", 1, B)];
        let says = |untagged| choose(tags("", "us"), &sharded, untagged);
        assert_eq!(says(Untagged::CommitOnly), asked(1, "", false));
        assert_eq!(says(Untagged::Decide), asked(1, "", true));
        // Not even then, where nobody says which database it is.
        assert_eq!(
            choose(tags("", ""), &sharded, Untagged::Decide),
            Choice::LookEverywhere
        );
    }

    #[test]
    fn a_shard_is_looked_up_and_never_guessed() {
        let sharded = [place("eu", 0, A), place("us", 1, B)];
        let commit = Untagged::CommitOnly;
        assert_eq!(choose(tags(B, "us"), &sharded, commit), asked(1, B, true));
        // The database will refuse it, whoever is wrong.
        assert_eq!(choose(tags(A, "us"), &sharded, commit), asked(1, A, true));
        nobody(choose(tags(A, "asia"), &sharded, commit), "unknown_shard");
    }

    #[test]
    fn among_several_the_domain_decides() {
        let commit = Untagged::CommitOnly;
        let places = [place("eu", 0, A), place("us", 1, B), place("us2", 1, B)];
        assert_eq!(choose(tags(B, ""), &places, commit), asked(1, B, true));
        nobody(choose(tags(C, ""), &places, commit), "wrong_domain");
        let one_down = [place("", 0, A), place("", 1, "")];
        assert_eq!(choose(tags(A, ""), &one_down, commit), asked(0, A, true));
        nobody(choose(tags(B, ""), &one_down, commit), "db_unreachable");
        let copied = [place("", 0, A), place("", 1, A)];
        nobody(choose(tags(A, ""), &copied, commit), "ambiguous_domain");
    }
}
