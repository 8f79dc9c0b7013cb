//! Markers, fences, checks and what keeps them honest, against real databases: PostgreSQL, MariaDB and SQLite.

mod checking;
mod fencing;
mod inbox;
mod migration;
mod outcome;
mod purging;
mod starting_up;
mod support;
