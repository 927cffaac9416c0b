package packets_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mqtt311/mqtt311/packets"
)

func Example() {
	p := &packets.Publish{Topic: "plant/7/state", QoS: packets.AtLeastOnce, PacketID: 1, Payload: []byte("on")}
	b, err := p.AppendBinary(nil)
	fmt.Printf("% x %v\n", b, err)

	again, n, err := packets.Parse(b)
	fmt.Println(again, n, err)
	// Output:
	// 32 13 00 0d 70 6c 61 6e 74 2f 37 2f 73 74 61 74 65 00 01 6f 6e <nil>
	// PUBLISH "plant/7/state" qos=1 id=1 dup=0 size=2 21 <nil>
}

func ExampleReader_ReadPacket() {
	stream := strings.NewReader("\x20\x02\x00\x00" + "\x30\x05\x00\x01thi" + "\xd0\x00")
	r := packets.NewReader(stream, packets.ReaderOptions{Max: 1 << 20})
	for {
		p, err := r.ReadPacket()
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		switch p := p.(type) {
		case *packets.Connack:
			fmt.Println("connected:", p.Code)
		case *packets.Publish:
			fmt.Printf("%s: %s\n", p.Topic, p.Payload) // until the next ReadPacket
		default:
			fmt.Println(p)
		}
	}
	// Output:
	// connected: connection accepted
	// t: hi
	// PINGRESP
}

func ExampleFormatError() {
	_, _, err := packets.Parse([]byte{0x36, 5, 0, 1, 't', 0, 1})
	fmt.Println(err)

	var fault *packets.FormatError
	if errors.As(err, &fault) {
		fmt.Println(fault.Type, fault.Offset, fault.Spec)
	}
	// Output:
	// packets: PUBLISH: byte 0: QoS is 3 [MQTT-3.3.1-4]
	// PUBLISH 0 MQTT-3.3.1-4
}

func ExampleEncodeError() {
	_, err := (&packets.Subscribe{
		PacketID:      1,
		Subscriptions: []packets.Subscription{{Filter: "plant/#"}, {Filter: "plant#"}},
	}).AppendBinary(nil)
	fmt.Println(err)
	// Output:
	// packets: SUBSCRIBE: Subscriptions[1].Filter: has '#' not as its whole last level [MQTT-4.7.1-2]
}

func ExampleMatch() {
	fmt.Println(packets.Match("plant/+/state", "plant/7/state"))
	fmt.Println(packets.Match("plant/#", "plant"))
	fmt.Println(packets.Match("#", "$SYS/uptime"))
	// Output:
	// true
	// true
	// false
}

func ExampleValidTopicName() {
	fmt.Println(packets.ValidTopicName("plant/7/state"))
	fmt.Println(packets.ValidTopicName("plant/+/state"))
	// Output:
	// <nil>
	// packets: PUBLISH: Topic: holds a wildcard [MQTT-4.7.1-1] [MQTT-3.3.2-2]
}

func ExampleParseShared() {
	group, filter, ok := packets.ParseShared("$share/workers/plant/+/state")
	fmt.Println(group, filter, ok)
	// Output:
	// workers plant/+/state true
}

func ExamplePublish_StreamTo() {
	video := strings.NewReader("a long film")
	var wire bytes.Buffer
	_, err := (&packets.Publish{Topic: "film"}).StreamTo(&wire, video, video.Len())
	fmt.Println(wire.Len(), err)

	r := packets.NewReader(&wire, packets.ReaderOptions{StreamAbove: 10})
	p, err := r.ReadPacket()
	fmt.Println(p, err)
	if payload := r.Payload(); payload != nil {
		_, _ = io.Copy(os.Stdout, payload)
	}
	// Output:
	// 19 <nil>
	// PUBLISH "film" qos=0 size=0 <nil>
	// a long film
}
