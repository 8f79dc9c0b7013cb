//! A RocketMQ client: connection, producer, transactional producer, consumer.
