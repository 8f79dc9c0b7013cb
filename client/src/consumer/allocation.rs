//! Who of a group gets which queues of a topic.

/// The share of `me` in `queues`: a run of neighbours, the first members one more where it does not come out even.
///
/// Both lists are sorted. Every member computes this for itself, so all must use this very rule: it is Java's
/// `AllocateMessageQueueAveragely`, the default of all clients. Nothing for one who is not a member.
pub(super) fn averagely<'q, Q>(me: &str, members: &[String], queues: &'q [Q]) -> &'q [Q] {
    let Some(index) = members.iter().position(|member| member == me) else {
        return &[];
    };
    let (share, rest) = (queues.len() / members.len(), queues.len() % members.len());
    let start = index * share + index.min(rest);
    let end = start + share + usize::from(index < rest);
    queues.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(members: usize, queues: usize) -> Vec<Vec<usize>> {
        let names: Vec<String> = (0..members).map(|n| format!("m{n}")).collect();
        let queues: Vec<usize> = (0..queues).collect();
        let share = |name: &String| averagely(name, &names, &queues).to_vec();
        names.iter().map(share).collect()
    }

    #[test]
    fn shares_are_those_of_the_java_client() {
        assert_eq!(shares(1, 4), [vec![0, 1, 2, 3]]);
        assert_eq!(shares(2, 4), [vec![0, 1], vec![2, 3]]);
        assert_eq!(shares(3, 8), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(shares(3, 2), [vec![0], vec![1], vec![]]);
        assert_eq!(shares(2, 0), vec![Vec::<usize>::new(); 2]);
    }

    #[test]
    fn every_queue_has_one_owner() {
        for members in 1..8 {
            for queues in 0..20 {
                let all: Vec<usize> = shares(members, queues).concat();
                assert_eq!(all, (0..queues).collect::<Vec<_>>(), "{members} {queues}");
            }
        }
    }

    #[test]
    fn a_stranger_gets_nothing() {
        assert!(averagely("x", &["a".to_owned()], &[1, 2]).is_empty());
        assert!(averagely("x", &[], &[1, 2]).is_empty());
    }
}
