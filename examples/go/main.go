// An order service: POST /orders stores an order in MariaDB and announces it on the topic Orders, both or neither.
//
// Settings come from the environment: NAMESRV (host:port), DATABASE (a go-sql-driver data source), PORT (0 picks one).
package main

import (
	"database/sql"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	_ "github.com/go-sql-driver/mysql"
)

const (
	topic = "Orders"
	group = "order-service"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	rlog.SetLogLevel("warn")
	database, err := sql.Open("mysql", os.Getenv("DATABASE"))
	if err != nil {
		return err
	}
	defer database.Close()
	database.SetMaxOpenConns(8)

	// Which database holds the markers: a check-back server on any other one will not answer.
	var domain string
	if err := database.QueryRow("SELECT domain FROM escrow_meta").Scan(&domain); err != nil {
		return fmt.Errorf("escrow_meta (has escrow migrate been run?): %w", err)
	}

	transactions, err := rocketmq.NewTransactionProducer(&orderTransaction{database},
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{os.Getenv("NAMESRV")})),
		producer.WithGroupName(group))
	if err != nil {
		return err
	}
	if err := transactions.Start(); err != nil {
		return err
	}
	defer transactions.Shutdown()

	listener, err := net.Listen("tcp", "127.0.0.1:"+port())
	if err != nil {
		return err
	}
	http.Handle("/orders", &orders{transactions, domain})
	fmt.Printf("ready http=%s\n", listener.Addr())
	return http.Serve(listener, nil)
}

func port() string {
	if port := os.Getenv("PORT"); port != "" {
		return port
	}
	return "0"
}
