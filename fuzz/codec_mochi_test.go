package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/packets/vectors"
)

// mochiParse treats the bytes of a packet as mochi's server does for an MQTT 3.1.1 peer: decode,
// then validate.
func mochiParse(b []byte) (pk mochi.Packet, err error) {
	pk.ProtocolVersion = 4
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		return pk, err
	}
	r := bytes.NewReader(b[1:])
	if pk.FixedHeader.Remaining, _, err = mochi.DecodeLength(r); err != nil {
		return pk, err
	}
	body := bytes.Clone(b[len(b)-r.Len():])
	if len(body) < pk.FixedHeader.Remaining {
		return pk, packets.ErrShort
	}
	body = body[:pk.FixedHeader.Remaining]
	invalid := mochi.CodeSuccess
	switch pk.FixedHeader.Type {
	case mochi.Connect:
		err = pk.ConnectDecode(body)
		invalid = pk.ConnectValidate()
	case mochi.Connack:
		err = pk.ConnackDecode(body)
	case mochi.Publish:
		err = pk.PublishDecode(body)
		invalid = pk.PublishValidate(0)
	case mochi.Puback:
		err = pk.PubackDecode(body)
	case mochi.Pubrec:
		err = pk.PubrecDecode(body)
	case mochi.Pubrel:
		err = pk.PubrelDecode(body)
	case mochi.Pubcomp:
		err = pk.PubcompDecode(body)
	case mochi.Subscribe:
		err = pk.SubscribeDecode(body)
		invalid = pk.SubscribeValidate()
	case mochi.Suback:
		err = pk.SubackDecode(body)
	case mochi.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
		invalid = pk.UnsubscribeValidate()
	case mochi.Unsuback:
		err = pk.UnsubackDecode(body)
	case mochi.Pingreq, mochi.Pingresp:
	case mochi.Disconnect:
		err = pk.DisconnectDecode(body)
	default:
		err = errors.New("no such type")
	}
	if err == nil && invalid != mochi.CodeSuccess {
		err = invalid
	}
	return pk, err
}

// asOurs turns what mochi read into our packet of the same type.
func asOurs(pk mochi.Packet) packets.Packet {
	switch packets.Type(pk.FixedHeader.Type) {
	case packets.CONNECT:
		c := &pk.Connect
		p := &packets.Connect{
			ClientID: c.ClientIdentifier, CleanSession: c.Clean, KeepAlive: c.Keepalive,
			HasUserName: c.UsernameFlag, UserName: string(c.Username), HasPassword: c.PasswordFlag, Password: c.Password,
		}
		if c.WillFlag {
			p.Will = &packets.Will{Topic: c.WillTopic, Payload: c.WillPayload, QoS: packets.QoS(c.WillQos), Retain: c.WillRetain}
		}
		return p
	case packets.CONNACK:
		return &packets.Connack{SessionPresent: pk.SessionPresent && pk.ReasonCode == 0, Code: packets.ConnectCode(pk.ReasonCode)}
	case packets.PUBLISH:
		return &packets.Publish{
			Dup: pk.FixedHeader.Dup, QoS: packets.QoS(pk.FixedHeader.Qos), Retain: pk.FixedHeader.Retain,
			Topic: pk.TopicName, PacketID: pk.PacketID, Payload: pk.Payload,
		}
	case packets.PUBACK:
		return &packets.Puback{PacketID: pk.PacketID}
	case packets.PUBREC:
		return &packets.Pubrec{PacketID: pk.PacketID}
	case packets.PUBREL:
		return &packets.Pubrel{PacketID: pk.PacketID}
	case packets.PUBCOMP:
		return &packets.Pubcomp{PacketID: pk.PacketID}
	case packets.SUBSCRIBE:
		p := &packets.Subscribe{PacketID: pk.PacketID}
		for _, s := range pk.Filters {
			p.Subscriptions = append(p.Subscriptions, packets.Subscription{Filter: s.Filter, QoS: packets.QoS(s.Qos)})
		}
		return p
	case packets.SUBACK:
		p := &packets.Suback{PacketID: pk.PacketID}
		for _, c := range pk.ReasonCodes {
			p.Codes = append(p.Codes, packets.SubscribeCode(c))
		}
		return p
	case packets.UNSUBSCRIBE:
		p := &packets.Unsubscribe{PacketID: pk.PacketID}
		for _, s := range pk.Filters {
			p.Filters = append(p.Filters, s.Filter)
		}
		return p
	case packets.UNSUBACK:
		return &packets.Unsuback{PacketID: pk.PacketID}
	case packets.PINGREQ:
		return &packets.Pingreq{}
	case packets.PINGRESP:
		return &packets.Pingresp{}
	}
	return &packets.Disconnect{}
}

// theyRefuse are legal packets that mochi v2.7.9 refuses, by its error, each with the reason why we
// accept them.
var theyRefuse = map[string]string{
	mochi.ErrProtocolViolationFlagNoPassword.Error():    "an empty password is a password, section 3.1.3.5",
	mochi.ErrProtocolViolationWillFlagNoPayload.Error(): "a Will Message may have no bytes, section 3.1.3.3",
}

// theyRead are illegal packets that mochi v2.7.9 reads, by type and statement (or by the reason
// where there is no statement), each with the cause in mochi.
var theyRead = map[string]string{
	"remaining length takes more bytes than it needs (section 2.2.3)": "3.1.1 has no statement; we have a tolerance for it",
	"remaining length has more than four bytes (section 2.2.3)":       "they look at the value, and stop only above 268,435,455",
	"remaining length is too large for the packet":                    "they leave what follows the fields unread",
	"remaining length is too small for the packet":                    "a SUBACK without a code is an empty list to them",
	"reserved acknowledge flags are set (section 3.2.2.1)":            "they look at bit 0 alone",

	"CONNECT MQTT-3.1.2-1":  "they serve MQTT 3.1 too",
	"CONNECT MQTT-3.1.2-2":  "they serve MQTT 5 too",
	"CONNECT MQTT-3.1.2-13": "Will QoS without a Will is not looked at",
	"CONNECT MQTT-3.1.2-22": "a password alone is legal in MQTT 5, and taken in 3.1.1",
	"CONNECT MQTT-3.1.3-1":  "they leave what follows the fields unread",
	"CONNECT MQTT-3.1.3-7":  "answered with a CONNACK later, by the server",
	"CONNECT MQTT-3.1.3-11": "the user name is bytes to them",
	"CONNECT MQTT-1.5.3-2":  "the user name is bytes to them",
	"CONNECT MQTT-3.3.2-2":  "wildcards in a Will Topic are not looked at",

	"PUBACK MQTT-2.3.1-1":   "packet identifier 0 is looked up later, and not found",
	"PUBREC MQTT-2.3.1-1":   "packet identifier 0 is looked up later, and not found",
	"PUBREL MQTT-2.3.1-1":   "packet identifier 0 is looked up later, and not found",
	"PUBCOMP MQTT-2.3.1-1":  "packet identifier 0 is looked up later, and not found",
	"SUBACK MQTT-2.3.1-1":   "a server receives none",
	"UNSUBACK MQTT-2.3.1-1": "a server receives none",
	"SUBACK MQTT-3.9.3-2":   "a server receives none",

	"SUBSCRIBE MQTT-4.7.1-2":   "answered with a failure in the SUBACK, by the server",
	"SUBSCRIBE MQTT-4.7.1-3":   "answered with a failure in the SUBACK, by the server",
	"SUBSCRIBE MQTT-4.7.3-1":   "answered with a failure in the SUBACK, by the server",
	"UNSUBSCRIBE MQTT-4.7.1-2": "such a filter is not found among the subscriptions",
	"UNSUBSCRIBE MQTT-4.7.1-3": "such a filter is not found among the subscriptions",
	"UNSUBSCRIBE MQTT-4.7.3-1": "such a filter is not found among the subscriptions",
}

// disagreement returns how the two codecs differ about b, or "" if they agree.
func disagreement(t *testing.T, b []byte) (list map[string]string, key string) {
	ours, n, err := packets.Parse(b)
	if err == packets.ErrShort {
		return nil, ""
	}
	theirs, theirErr := mochiParse(b)
	var fault *packets.FormatError
	switch {
	case err == nil && theirErr == nil:
		require.Equal(t, ours, asOurs(theirs), "% x", b[:n])
		return nil, ""
	case err == nil:
		return theyRefuse, theirErr.Error()
	case theirErr != nil:
		return nil, ""
	}
	require.ErrorAs(t, err, &fault)
	if fault.Spec == "" {
		return theyRead, fault.Reason
	}
	return theyRead, fmt.Sprintf("%v %s", fault.Type, fault.Spec)
}

// mutant changes one to three places of a vector.
func mutant(r *rand.Rand) []byte {
	b := bytes.Clone(vectors.Packets[r.IntN(len(vectors.Packets))].Bytes)
	if r.IntN(4) == 0 {
		b = bytes.Clone(vectors.Refusals[r.IntN(len(vectors.Refusals))].Bytes)
	}
	interesting := []byte{0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, '#', '+', '/', 0xC0, 0xED}
	for range 1 + r.IntN(3) {
		i := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b[i] = interesting[r.IntN(len(interesting))]
		case 2: // a byte more, and the length says so
			b = slices.Insert(b, i, interesting[r.IntN(len(interesting))])
			if i > 1 && b[1] < 0x7F {
				b[1]++
			}
		case 3: // a byte less, and the length says so
			if i > 1 && b[1] > 0 && b[1] < 0x80 {
				b = slices.Delete(b, i, i+1)
				b[1]--
			}
		case 4:
			b[i]++
		case 5:
			b[i]--
		}
	}
	return b
}

// Two codecs and 300,000 mutants: where both read a packet, they read the same, and where only one
// does, the reason is in a list. A reason that is no longer needed must be removed.
func TestDifferentialMochi(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 11))
	used := map[string]int{}
	for range 300_000 {
		b := mutant(r)
		list, key := disagreement(t, b)
		if key == "" {
			continue
		}
		used[key]++
		require.Contains(t, list, key, "no reason for this disagreement: % x", b)
	}
	known := slices.Sorted(maps.Keys(theyRead))
	known = append(known, slices.Sorted(maps.Keys(theyRefuse))...)
	require.ElementsMatch(t, known, slices.Collect(maps.Keys(used)), "every reason is needed")
}

func FuzzDifferentialMochi(f *testing.F) {
	seedWithVectors(func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, key := disagreement(t, b); key != "" {
			require.Contains(t, list, key, "no reason for this disagreement")
		}
	})
}
