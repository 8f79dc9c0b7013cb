//! What the types of the client's bound transactions forbid, as programs that must not compile (`tests/misuse`).
//!
//! A crate of its own since trybuild compiles everything that the crate with the test depends on once more, twice: here
//! that is the client with its smallest database, and no broker.
