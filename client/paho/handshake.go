package paho

import (
	"net"

	"github.com/mqtt311/mqtt311/client/paho/packets"
)

// ConnectMQTT sends a CONNECT over an open connection and returns the code and the Session Present of
// the answer; packets.ErrNetworkError if none came. The protocol version is 4.
func ConnectMQTT(conn net.Conn, cm *packets.ConnectPacket, protocolVersion uint) (byte, bool) {
	if protocolVersion != 4 {
		return packets.ErrRefusedBadProtocolVersion, false
	}
	hello := *cm
	hello.ProtocolName, hello.ProtocolVersion = "MQTT", 4
	if err := hello.Write(conn); err != nil {
		logf(ERROR, CLI, "%v", err)
		return packets.ErrNetworkError, false
	}
	p, err := packets.ReadPacket(conn)
	if err != nil {
		logf(ERROR, CLI, "%v", err)
		return packets.ErrNetworkError, false
	}
	connack, ok := p.(*packets.ConnackPacket)
	if !ok {
		return packets.ErrNetworkError, false
	}
	return connack.ReturnCode, connack.SessionPresent
}
