//! Real database servers for tests: PostgreSQL and MariaDB as users of their own, on free loopback ports, in
//! temporary folders.
//!
//! ```no_run
//! # async fn test() -> Result<(), escrow_test_databases::Error> {
//! use escrow_test_databases::{Engine, Server};
//! let url = Server::shared(Engine::Postgres)?.fresh_database().await?;   // most tests
//! let server = Server::start(Engine::MariaDb, &[])?;                     // a test that crashes it
//! server.crash();
//! server.restart()?;
//! # Ok(()) }
//! ```
//!
//! The servers and their folders go away with the process that started them, however it ends.

mod engine;
mod ports;
mod process;
mod server;

pub use engine::Engine;
pub use ports::free_ports;
pub use server::Server;

/// Why there is no database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A program is not installed. Never a reason to skip a test.
    #[error("{program} is missing: install it with `apt-get install {package}`")]
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The server did not start.
    #[error("{0}")]
    Start(String),
    /// The server refused to make a database.
    #[error("cannot make a database: {0}")]
    Create(String),
}
