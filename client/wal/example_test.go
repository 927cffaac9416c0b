package wal_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
)

// A message accepted without a connection is still in the store after a restart.
func Example() {
	dir, err := os.MkdirTemp("", "wal")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	nobody := func(context.Context) (net.Conn, error) { return nil, errors.New("no network") }

	for run := range 2 {
		store, err := wal.Open(wal.Options{Dir: dir, Server: "mq.example.com:8883", ClientID: "line-7"})
		if err != nil {
			fmt.Println(err)
			return
		}
		c, err := client.New(client.Config{Dial: nobody, ClientID: "line-7", Store: store})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("unfinished:", c.Stats().Unfinished)
		if run == 0 {
			receipt, err := c.PublishAsync(ctx, client.Message{Topic: "plant/door", Payload: []byte("open"), QoS: 1})
			if err != nil {
				fmt.Println(err)
				return
			}
			<-receipt.Accepted()
			c.Abort()
			fmt.Println(receipt.Err())
		}
		c.Abort()
		if err := store.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// unfinished: 0
	// client: publish: stored, not finished: closed
	// unfinished: 1
}
