package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// A DeadLetterRecord is a line of a dead letter file.
type DeadLetterRecord struct {
	Time      time.Time   `json:"time"`
	Consumer  string      `json:"consumer"`
	Topic     string      `json:"topic"`
	QoS       packets.QoS `json:"qos"`
	MessageID uint16      `json:"messageID"`
	Attempts  int         `json:"attempts"`
	Error     *Error      `json:"error"`
	Payload   []byte      `json:"payload"` // base64
}

// deadLetter puts a message where the failure policy says; it is acknowledged only when
// that succeeded.
func (k *consumer) deadLetter(j *job, cause error) error {
	if topic := k.params.OnFailure.DeadLetterTopic; topic != "" {
		ctx, cancel := context.WithTimeout(k.conn.flowContext, defaultAckTimeout)
		defer cancel()
		return k.conn.out.publish(ctx, client.Message{Topic: topic, QoS: packets.AtLeastOnce, Payload: j.d.Payload})
	}
	line, err := json.Marshal(DeadLetterRecord{
		Time: time.Now(), Consumer: k.name, Topic: j.d.Topic, QoS: j.d.QoS, MessageID: j.d.PacketID,
		Attempts: j.attempt, Error: k.conn.shown(AsError(cause)), Payload: j.d.Payload,
	})
	if err != nil {
		return err
	}
	return k.conn.appendLine(k.params.OnFailure.DeadLetterFile, line)
}

// appendLine adds a line to a file and makes it durable before it returns.
func (c *Connector) appendLine(path string, line []byte) (err error) {
	c.files.Lock()
	defer c.files.Unlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("connector: dead letter: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("connector: dead letter: %w", err)
	}
	return f.Sync()
}
