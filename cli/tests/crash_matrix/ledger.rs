//! What is known of every order, and whether database and consumers agree about it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::rows::Row;
use crate::talk::{Delivered, End, Event};

/// What the killed order of a row must have become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    RolledBack,
    Either,
}

#[derive(Debug, Clone)]
struct Order {
    row: Row,
    fate: Fate,
    end: Option<End>,
    /// An operator decided against the database: the message has the operator's fate.
    overruled: bool,
}

/// All orders by id, and the kills.
#[derive(Default)]
pub(crate) struct Ledger {
    orders: HashMap<String, Order>,
    kills: BTreeMap<Row, u32>,
}

/// What came out in one row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u32,
    pub(crate) delivered: u32,
    pub(crate) rolled_back: u32,
    /// Committed orders of which the broker told the application that it does not deliver them.
    pub(crate) refused: u32,
    /// Messages that consumers see more than once.
    pub(crate) twice: u32,
    pub(crate) differences: u32,
}

impl Ledger {
    pub(crate) fn killed(&mut self, row: Row) {
        *self.kills.entry(row).or_default() += 1;
    }

    /// Takes down what a worker said. What it had not heard of when it was killed has `fate`.
    pub(crate) fn take(&mut self, row: Row, said: Vec<Event>, fate: Fate) {
        for event in said {
            match event {
                Event::Order(id) => {
                    let order = Order {
                        row,
                        fate,
                        end: None,
                        overruled: false,
                    };
                    let taken = self.orders.insert(id, order);
                    assert!(taken.is_none(), "two orders of one id");
                }
                Event::Ended(id, end) => {
                    let order = self.orders.get_mut(&id).unwrap();
                    order.end = Some(end);
                    order.fate = match end {
                        End::Committed(_) => Fate::Committed,
                        End::RolledBack | End::TooLate => Fate::RolledBack,
                        End::InDoubt => Fate::Either,
                        End::Split => panic!("{id}: split, although nobody broke a rule"),
                    };
                    let refused = end == End::Committed(Delivered::Refused);
                    order.overruled = refused && row == Row::Operator;
                }
                Event::Ready | Event::Step(_) => {}
            }
        }
    }

    /// Compares, and says what differs.
    pub(crate) fn audit(
        &self,
        database: &[String],
        consumers: &[String],
    ) -> (BTreeMap<Row, Tally>, Vec<String>) {
        let stored: HashSet<&str> = database.iter().map(String::as_str).collect();
        let mut seen: HashMap<&str, u32> = HashMap::new();
        for id in consumers {
            *seen.entry(id).or_default() += 1;
        }
        let mut differences = Vec::new();
        for id in stored.iter().chain(seen.keys()) {
            if !self.orders.contains_key(*id) {
                differences.push(format!("{id}: nobody placed it"));
            }
        }
        let mut tallies: BTreeMap<Row, Tally> = BTreeMap::new();
        for (&row, &kills) in &self.kills {
            tallies.entry(row).or_default().kills = kills;
        }
        for (id, order) in &self.orders {
            let tally = tallies.entry(order.row).or_default();
            let in_database = stored.contains(id.as_str());
            let times = seen.get(id.as_str()).copied().unwrap_or(0);
            tally.delivered += u32::from(times > 0);
            tally.rolled_back += u32::from(!in_database);
            tally.twice += u32::from(times > 1);
            tally.refused += u32::from(order.end == Some(End::Committed(Delivered::Refused)));
            let agrees = if order.overruled {
                in_database && times == 0
            } else {
                in_database == (times > 0)
            };
            let as_told = match order.fate {
                Fate::Committed => in_database,
                Fate::RolledBack => !in_database,
                Fate::Either => true,
            };
            if !agrees || !as_told {
                tally.differences += 1;
                differences.push(format!(
                    "{id}: {}in the database, seen by consumers {times} times: {order:?}",
                    if in_database { "" } else { "not " }
                ));
            }
        }
        (tallies, differences)
    }
}
