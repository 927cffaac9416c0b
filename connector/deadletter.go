package connector

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// A DeadLetterRecord is a line of a dead letter file, and what DeadLetterMeta publishes.
type DeadLetterRecord struct {
	Time      time.Time   `json:"time"`
	Received  time.Time   `json:"received"`
	Consumer  string      `json:"consumer"`
	Topic     string      `json:"topic"`
	QoS       packets.QoS `json:"qos"`
	MessageID uint16      `json:"messageID"`
	Key       string      `json:"key"` // see IdempotencyKey
	Attempts  int         `json:"attempts"`
	Error     *Error      `json:"error"`
	Payload   []byte      `json:"payload,omitempty"` // base64; of a file only
}

const metaLevel = "/meta"

// deadLetter puts a message where the failure policy says; it is acknowledged only when
// that succeeded.
func (k *consumer) deadLetter(j *job, cause error) error {
	f := &k.params.OnFailure
	record := DeadLetterRecord{
		Time: time.Now(), Received: j.at, Consumer: k.name, Topic: j.d.Topic, QoS: j.d.QoS, MessageID: j.d.PacketID, Key: k.keyOf(j),
		Attempts: j.attempt, Error: k.conn.shown(AsError(cause)),
	}
	if f.DeadLetterTopic == "" {
		record.Payload = j.d.Payload
	}
	line, err := json.Marshal(record)
	switch {
	case err != nil:
	case f.DeadLetterTopic == "":
		err = k.conn.appendLine(f.DeadLetterFile, line)
	default:
		err = k.publishDeadLetter(j, line)
	}
	if err != nil {
		return flow.NewError(TypeDeadLetter, err)
	}
	return nil
}

// publishDeadLetter publishes what is known of the message before the message, so that whoever
// takes the second has the first.
func (k *consumer) publishDeadLetter(j *job, record []byte) error {
	ctx, cancel := context.WithTimeout(k.conn.flowContext, defaultAckTimeout)
	defer cancel()
	topic := k.params.OnFailure.DeadLetterTopic
	if k.params.OnFailure.DeadLetterMeta {
		err := k.conn.out.publish(ctx, client.Message{Topic: topic + metaLevel, QoS: packets.AtLeastOnce, Payload: record})
		if err != nil {
			return err
		}
	}
	return k.conn.out.publish(ctx, client.Message{Topic: topic, QoS: packets.AtLeastOnce, Payload: j.d.Payload})
}

// appendLine adds a line to a file and makes it durable before it returns. What a full disk or a
// crash has cut off before stays a line of its own.
func (c *Connector) appendLine(path string, line []byte) (err error) {
	c.files.Lock()
	defer c.files.Unlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if size := info.Size(); size == 0 {
		err = syncFolder(filepath.Dir(path)) // it may be new, and its name has to last as well
	} else {
		var last [1]byte
		if _, err = f.ReadAt(last[:], size-1); last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	return f.Sync()
}

// syncFolder makes the names in a folder durable. Windows cannot, and does so by itself.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
