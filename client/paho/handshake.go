package paho

import (
	"net"

	"github.com/mqtt311/mqtt311/client/paho/packets"
)

// ConnectMQTT sends CONNECT on an open connection and returns the return code and Session Present
// of the answer, or packets.ErrNetworkError if there was none. The protocol version must be 4.
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
