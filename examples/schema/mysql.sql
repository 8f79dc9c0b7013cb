CREATE TABLE orders (
    id       VARCHAR(64)  PRIMARY KEY,
    item     VARCHAR(200) NOT NULL,
    quantity INT          NOT NULL CHECK (quantity > 0),
    placed   TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
) ENGINE = InnoDB;
