//! Markers, fences, checks and what keeps them honest, against real databases: PostgreSQL, MariaDB and SQLite.

mod fencing;
mod outcome;
mod support;
