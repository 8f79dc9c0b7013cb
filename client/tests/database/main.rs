//! Markers, fences, checks and what keeps them honest, against real databases: PostgreSQL, MariaDB and SQLite.

mod fencing;
mod migration;
mod outcome;
mod starting_up;
mod support;
