package connector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/internal/lines"
	"github.com/mqtt311/mqtt311/packets"
)

// A DeadLetterRecord is a line of a dead letter file, as JSON, and what DeadLetterMeta publishes.
// For a message larger than MaxPacketSize there is no Key and no Attempts, and the line may be
// hundreds of megabytes long; read such a file with a json.Decoder, one record at a time.
type DeadLetterRecord struct {
	Time      time.Time   `json:"time"`
	Received  time.Time   `json:"received"`
	Consumer  string      `json:"consumer"`
	Topic     string      `json:"topic"`
	QoS       packets.QoS `json:"qos"`
	MessageID uint16      `json:"messageID"`
	Key       string      `json:"key"` // see flow.IdempotencyKey
	Attempts  int         `json:"attempts"`
	Error     *flow.Error `json:"error"`
	Digest    string      `json:"digest,omitempty"`  // SHA-256 of the payload in hexadecimal; only with DeadLetterMeta
	Payload   []byte      `json:"payload,omitempty"` // base64 in JSON; only in files
}

const metaLevel = "/meta"

// deadLetter puts a message where the failure policy says. It is acknowledged only if that
// succeeds.
func (k *consumer) deadLetter(j *job, f *OnFailure, cause error) error {
	record := DeadLetterRecord{
		Time: time.Now(), Received: j.at, Consumer: k.name, Topic: j.d.Topic, QoS: j.d.QoS, MessageID: j.d.PacketID, Key: k.keyOf(j),
		Attempts: j.attempt, Error: k.conn.shown(flow.AsError(cause)),
	}
	switch {
	case f.DeadLetterTopic == "":
		record.Payload = j.d.Payload
	case f.DeadLetterMeta:
		sum := sha256.Sum256(j.d.Payload)
		record.Digest = hex.EncodeToString(sum[:])
	}
	line, err := json.Marshal(record)
	switch {
	case err != nil:
	case f.DeadLetterTopic == "":
		err = k.conn.appendLine(f.DeadLetterFile, line)
	default:
		err = k.publishDeadLetter(j, f, line)
	}
	if err != nil {
		return flow.NewError(flow.TypeDeadLetter, err)
	}
	return nil
}

// publishDeadLetter publishes the record of the message before the message, so that a receiver of
// the message has its record. Several may be in flight at a time: the digest says which record
// belongs to which message.
func (k *consumer) publishDeadLetter(j *job, f *OnFailure, record []byte) error {
	ctx, cancel := context.WithTimeout(k.conn.flowContext, defaultAckTimeout)
	defer cancel()
	if f.DeadLetterMeta {
		err := k.conn.out.publish(ctx, client.Message{Topic: f.DeadLetterTopic + metaLevel, QoS: packets.AtLeastOnce, Payload: record})
		if err != nil {
			return err
		}
	}
	return k.conn.out.publish(ctx, client.Message{Topic: f.DeadLetterTopic, QoS: packets.AtLeastOnce, Payload: j.d.Payload})
}

// appendLine adds a line to a file and makes it durable before it returns.
func (c *Connector) appendLine(path string, line []byte) error {
	c.files.Lock()
	defer c.files.Unlock()
	return lines.Append(path, func(w io.Writer) error {
		_, err := w.Write(line)
		return err
	})
}
