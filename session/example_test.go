package session_test

import (
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// A minimal driver: its network is a list of the Server's answers, its store prints, and its clock
// stands still.
func ExampleSession() {
	s, err := session.New(session.Config{ClientID: "c", Durable: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(0, 0)
	perform := func() {
		sent := uint64(0)
		for o, ok := s.Next(); ok; o, ok = s.Next() {
			switch o.Op {
			case session.Save:
				fmt.Printf("save %d\n", o.N)
			case session.Forget:
				fmt.Printf("forget %d\n", o.N)
			case session.Send:
				fmt.Printf("> %v, after save %d\n", o, o.After)
				sent = o.N
			case session.Deliver:
				fmt.Printf("deliver %s\n", o.Packet.(*packets.Publish).Payload)
			case session.Done:
				fmt.Printf("done: %v\n", o.Err)
			case session.Close:
				fmt.Println("close")
			}
		}
		s.Written(now, sent)
	}
	perform() // what New put out

	if err := s.Opened(now, session.Login{}); err != nil {
		fmt.Println(err)
		return
	}
	perform()
	if _, err := s.Publish(now, session.Message{Topic: "door", Payload: []byte("open"), QoS: packets.AtLeastOnce}); err != nil {
		fmt.Println(err)
		return
	}
	perform() // it is saved now, and sent when the Server has accepted the connection

	for _, answer := range []packets.Packet{
		&packets.Connack{},
		&packets.Puback{PacketID: 1},
		&packets.Publish{Topic: "door", Payload: []byte("shut")},
	} {
		fmt.Println("<", answer)
		s.Received(now, answer)
		perform()
	}
	s.Disconnect()
	perform()
	s.Lost(now, session.Loss{By: session.ByUs})
	// Output:
	// save 1
	// > CONNECT client="c" clean=false keepalive=30s, after save 0
	// save 2
	// save 3
	// < CONNACK sp=0 code=0
	// > PUBLISH "door" qos=1 id=1 dup=0 size=4, after save 3
	// < PUBACK id=1
	// forget 4
	// done: <nil>
	// < PUBLISH "door" qos=0 size=4
	// deliver shut
	// > DISCONNECT, after save 0
	// close
}
