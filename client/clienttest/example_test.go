package clienttest_test

import (
	"context"
	"fmt"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
	"github.com/mqtt311/mqtt311/packets"
)

// A publication whose acknowledgement is lost with the connection is sent again, with DUP.
func ExampleNetwork() {
	ctx := context.Background()
	server := clienttest.NewServer()
	network := clienttest.NewNetwork(server.Dial)
	c, err := client.New(client.Config{Dial: network.Dial, ClientID: "hall-7"})
	if err != nil {
		fmt.Println(err)
		return
	}
	published := make(chan error)
	go func() {
		c.Connect(ctx)
		published <- c.Publish(ctx, client.Message{Topic: "plant/door", QoS: packets.AtLeastOnce})
	}()

	conn, _ := server.Accept(ctx)
	conn.Handshake(false)
	fmt.Println(conn.Receive())
	network.Cut()

	conn, _ = server.Accept(ctx)
	conn.Handshake(true)
	p, err := conn.Receive()
	fmt.Println(p, err)
	conn.Send(&packets.Puback{PacketID: p.(*packets.Publish).PacketID})
	fmt.Println(<-published)
	c.Abort()
	// Output:
	// PUBLISH "plant/door" qos=1 id=1 dup=0 size=0 <nil>
	// PUBLISH "plant/door" qos=1 id=1 dup=1 size=0 <nil>
	// <nil>
}
