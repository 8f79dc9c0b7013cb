package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"net/http"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// order is what a customer orders; also the body of the message that announces it.
type order struct {
	ID       string `json:"id"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// orders takes orders over HTTP.
type orders struct {
	transactions rocketmq.TransactionProducer
	domain       string
}

func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST an order", http.StatusMethodNotAllowed)
		return
	}
	var placed order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&placed); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(placed)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	message := primitive.NewMessage(topic, body).WithKeys([]string{placed.ID})
	message.WithProperty("ESCROW_DOMAIN", o.domain)
	result, err := o.transactions.SendMessageInTransaction(context.Background(), message)
	switch {
	case err != nil:
		// No half message, so no order.
		http.Error(w, "not placed: "+err.Error(), http.StatusServiceUnavailable)
	case result.State == primitive.CommitMessageState:
		w.WriteHeader(http.StatusCreated)
	default:
		http.Error(w, "not known to be placed; ask for it later", http.StatusServiceUnavailable)
	}
}

// orderTransaction is the database transaction behind each half message: the order, and one marker row under the message's
// transaction id.
//
// The marker ties the two together. If this service dies anywhere in here, or its answer gets lost, the check-back server looks
// for the marker and answers in its place.
type orderTransaction struct{ database *sql.DB }

func (t *orderTransaction) ExecuteLocalTransaction(half *primitive.Message) primitive.LocalTransactionState {
	if err := t.place(half); err != nil {
		// Whether it committed is not for us to guess: the marker tells, and the check-back server reads it.
		log.Printf("order not known to be placed: %v", err)
		return primitive.UnkonwnState
	}
	return primitive.CommitMessageState
}

func (t *orderTransaction) place(half *primitive.Message) error {
	var placed order
	if err := json.Unmarshal(half.Body, &placed); err != nil {
		return err
	}
	transaction, err := t.database.Begin()
	if err != nil {
		return err
	}
	defer transaction.Rollback()
	if _, err := transaction.Exec("INSERT INTO escrow_marker (tx_id) VALUES (?)", half.TransactionId); err != nil {
		return err
	}
	if _, err := transaction.Exec("INSERT INTO orders (id, item, quantity) VALUES (?, ?, ?)",
		placed.ID, placed.Item, placed.Quantity); err != nil {
		return err
	}
	return transaction.Commit()
}

// CheckLocalTransaction is answered by the check-back server, which also knows when this service is gone.
func (t *orderTransaction) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	return primitive.UnkonwnState
}
