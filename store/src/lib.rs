//! The log and everything that derives from it. Blocking, one writer, no sockets, no threads of its own.
