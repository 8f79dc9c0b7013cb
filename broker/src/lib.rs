//! The server: sockets, log thread, maintenance, topics, consumers, name server, admin.
