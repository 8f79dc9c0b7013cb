//! Which database knows what became of a half.
//!
//! A tombstone in the wrong database would roll back what another one committed. So a half is asked of the one
//! database that it names, and of none if that is in doubt.

use crate::database::{Domain, Reason};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The database at this place of the group.
    Ask(usize),
    /// Every place, without ruling anything out: a row in any of them is a commit.
    LookEverywhere,
}

/// Whom to ask about a half that names this domain and this shard; the reason if it is nobody.
pub(super) fn choose(
    domain: Option<Domain>,
    shard: Option<&str>,
    places: &[Place<'_>],
) -> Result<Choice, Reason> {
    if let Some(shard) = shard {
        let found = places.iter().position(|place| place.shard == Some(shard));
        let unknown = || Reason::UnknownShard(shard.to_owned());
        return found.map(Choice::Ask).ok_or_else(unknown);
    }
    let first = places.first().map(|place| place.database);
    if places.iter().all(|place| Some(place.database) == first) {
        // Whether it is the right one is for the database itself to say, in the transaction that decides.
        return Ok(Choice::Ask(0));
    }
    match domain {
        Some(domain) => by_domain(domain, places),
        None => Ok(Choice::LookEverywhere),
    }
}

fn by_domain(domain: Domain, places: &[Place<'_>]) -> Result<Choice, Reason> {
    let mut found = None;
    for (index, place) in places.iter().enumerate() {
        if place.domain != Some(domain) {
            continue;
        }
        match found {
            None => found = Some((index, place.database)),
            Some((_, database)) if database == place.database => {}
            Some(_) => return Err(Reason::AmbiguousDomain(domain)),
        }
    }
    match found {
        Some((index, _)) => Ok(Choice::Ask(index)),
        None if places.iter().any(|place| place.domain.is_none()) => Err(Reason::Unreachable(
            format!("database {domain} may be one that is out of reach"),
        )),
        None => Err(Reason::NoSuchDomain(domain)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "11111111-1111-4111-8111-111111111111";
    const B: &str = "22222222-2222-4222-8222-222222222222";
    const C: &str = "33333333-3333-4333-8333-333333333333";

    fn domain(text: &str) -> Option<Domain> {
        (!text.is_empty()).then(|| text.parse().unwrap())
    }

    fn place<'a>(shard: &'a str, database: usize, domain_of: &str) -> Place<'a> {
        Place {
            shard: (!shard.is_empty()).then_some(shard),
            database,
            domain: domain(domain_of),
        }
    }

    /// The place that is asked, or why none is.
    fn asked(of: &str, shard: &str, places: &[Place<'_>]) -> Result<usize, &'static str> {
        let shard = (!shard.is_empty()).then_some(shard);
        match choose(domain(of), shard, places) {
            Ok(Choice::Ask(place)) => Ok(place),
            Ok(Choice::LookEverywhere) => Err("everywhere"),
            Err(reason) => Err(reason.keyword()),
        }
    }

    #[test]
    fn the_only_database_is_asked_and_says_itself_whether_it_is_the_right_one() {
        let only = [place("", 0, A)];
        assert_eq!(asked(A, "", &only), Ok(0));
        assert_eq!(asked(B, "", &only), Ok(0));
        assert_eq!(asked("", "", &only), Ok(0));
        assert_eq!(asked(A, "eu", &only), Err("unknown_shard"));
    }

    #[test]
    fn a_shard_is_looked_up_and_never_guessed() {
        let sharded = [place("eu", 0, A), place("us", 1, B)];
        assert_eq!(asked(B, "us", &sharded), Ok(1));
        assert_eq!(asked("", "us", &sharded), Ok(1));
        // The database will refuse it, whoever is wrong.
        assert_eq!(asked(A, "us", &sharded), Ok(1));
        assert_eq!(asked(A, "asia", &sharded), Err("unknown_shard"));
    }

    #[test]
    fn among_several_the_domain_decides() {
        let places = [place("eu", 0, A), place("us", 1, B), place("us2", 1, B)];
        assert_eq!(asked(B, "", &places), Ok(1));
        assert_eq!(asked("", "", &places), Err("everywhere"));
        assert_eq!(asked(C, "", &places), Err("wrong_domain"));
        let one_down = [place("", 0, A), place("", 1, "")];
        assert_eq!(asked(A, "", &one_down), Ok(0));
        assert_eq!(asked(B, "", &one_down), Err("db_unreachable"));
        let copied = [place("", 0, A), place("", 1, A)];
        assert_eq!(asked(A, "", &copied), Err("ambiguous_domain"));
    }
}
