//! The books at the end: what the database has against what was shipped.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;

use super::fate::Fate;
use crate::table::{Align, Table};

pub(super) struct Verdict {
    pub(super) orders: u64,
    pub(super) placed: BTreeMap<u64, Fate>,
    /// Orders in the database, read after all was over.
    pub(super) in_database: Vec<u64>,
    /// How often each order was shipped.
    pub(super) shipped: BTreeMap<u64, u64>,
    pub(super) crashes: u64,
    pub(super) checks: u64,
    pub(super) seconds: f64,
}

impl Verdict {
    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&[
            ("WHAT BECAME OF THE ORDER", Align::Left),
            ("ORDERS", Align::Right),
            ("IN DATABASE", Align::Right),
            ("DELIVERED", Align::Right),
        ]);
        let kept: BTreeSet<u64> = self.in_database.iter().copied().collect();
        for fate in Fate::ALL {
            let orders: Vec<u64> = self
                .placed
                .iter()
                .filter(|(_, f)| **f == fate)
                .map(|(order, _)| *order)
                .collect();
            let delivered: u64 = orders
                .iter()
                .filter_map(|order| self.shipped.get(order))
                .sum();
            table.row([
                fate.describe().to_owned(),
                orders.len().to_string(),
                orders
                    .iter()
                    .filter(|order| kept.contains(order))
                    .count()
                    .to_string(),
                delivered.to_string(),
            ]);
        }
        table.row([
            "total".to_owned(),
            self.placed.len().to_string(),
            kept.len().to_string(),
            self.delivered().to_string(),
        ]);
        format!(
            "{}\norders in the database = messages delivered: {} = {}\nrolled back and delivered: {}\n\
             {} crashes of the order service, {} check-backs answered, {:.1} s\n",
            table.render(),
            kept.len(),
            self.delivered(),
            self.delivered_for_nothing(),
            self.crashes,
            self.checks,
            self.seconds,
        )
    }

    fn delivered(&self) -> u64 {
        self.shipped.values().sum()
    }

    /// Messages delivered for orders that are not in the database.
    fn delivered_for_nothing(&self) -> u64 {
        let kept: BTreeSet<u64> = self.in_database.iter().copied().collect();
        self.shipped
            .iter()
            .filter(|(order, _)| !kept.contains(order))
            .map(|(_, times)| times)
            .sum()
    }

    /// An error unless every order in the database was delivered once and nothing else was.
    pub(super) fn judge(&self) -> anyhow::Result<()> {
        ensure!(
            self.placed.len() as u64 == self.orders,
            "{} of {} orders placed",
            self.placed.len(),
            self.orders
        );
        let expected: Vec<u64> = self
            .placed
            .iter()
            .filter(|(_, fate)| fate.is_kept())
            .map(|(order, _)| *order)
            .collect();
        ensure!(
            self.in_database == expected,
            "the database holds other orders than the order service said"
        );
        let lost: Vec<&u64> = self
            .in_database
            .iter()
            .filter(|o| !self.shipped.contains_key(o))
            .collect();
        ensure!(
            lost.is_empty(),
            "in the database but not delivered: {lost:?}"
        );
        ensure!(
            self.delivered_for_nothing() == 0,
            "delivered without being in the database"
        );
        let twice: Vec<&u64> = self
            .shipped
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|(o, _)| o)
            .collect();
        ensure!(twice.is_empty(), "delivered more than once: {twice:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        let placed = BTreeMap::from([
            (1, Fate::Committed),
            (2, Fate::RolledBack),
            (3, Fate::EndLost),
        ]);
        Verdict {
            orders: 3,
            placed,
            in_database: vec![1, 3],
            shipped: BTreeMap::from([(1, 1), (3, 1)]),
            crashes: 0,
            checks: 1,
            seconds: 1.0,
        }
    }

    #[test]
    fn balanced_books_pass() {
        verdict().judge().unwrap();
        assert!(verdict().table().contains("messages delivered: 2 = 2"));
    }

    #[test]
    fn every_kind_of_imbalance_is_found() {
        let check = |change: fn(&mut Verdict), reason: &str| {
            let mut verdict = verdict();
            change(&mut verdict);
            let error = verdict.judge().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        check(
            |v| v.shipped.retain(|order, _| *order != 3),
            "not delivered: [3]",
        );
        check(
            |v| v.shipped.extend([(2, 1)]),
            "without being in the database",
        );
        check(|v| v.shipped.extend([(1, 2)]), "more than once: [1]");
        check(|v| v.in_database.push(9), "other orders");
        check(|v| v.orders = 4, "3 of 4 orders");
    }
}
