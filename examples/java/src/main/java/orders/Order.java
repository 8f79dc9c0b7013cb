package orders;

/** What a customer orders; also the body of the message that announces it. */
public record Order(String id, String item, int quantity) {}
