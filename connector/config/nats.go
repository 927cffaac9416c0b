package config

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/lint"
	"go.yaml.in/yaml/v3"
)

// natsSection reads the section nats.
func natsSection(to **connector.NATS) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		s := new(connector.NATS)
		r.object(path, n, nats(s))
		*to = s
	}
}

func nats(n *connector.NATS) []field {
	return []field{
		{key: "urls", required: true, read: list(&n.URLs, func(s *string) readFunc { return expanded(s) })},
		{key: "username", zh: "用户名", read: expanded(&n.UserName)},
		{key: "password", zh: "密码", read: secret(&n.Password, &n.PasswordFrom)},
		{key: "token", zh: "令牌", read: secret(&n.Token, &n.TokenFrom)},
		{key: "credentials", zh: "凭据", read: secret(&n.Credentials, &n.CredentialsFrom)},
		{key: "tls_client_cert", zh: "TLS 客户端证书", read: pemFile(&n.TLSClientCert)},
		{key: "tls_client_key", zh: "TLS 客户端 Key", read: keyFile(&n.TLSClientKey, &n.TLSClientKeyFrom)},
		{key: "tls_server_cert", zh: "TLS 服务端证书", read: pemFile(&n.TLSServerCert)},
		{key: "stream", zh: "流名称", read: expanded(&n.Stream)},
		{key: "consumer", zh: "入流的 Consumer", read: text(&n.Consumer)},
		{key: "prefix", zh: "主题前缀", read: expanded(&n.Prefix)},
		{key: "partitions", zh: "分区数", read: integer(&n.Partitions, 1, 1024)},
		{key: "replicas", zh: "副本数", read: choice(&n.Replicas, replicas, "1", "3", "5")},
		{key: "key", zh: "分区键", read: templated(&n.Key)},
		{key: "message_id", zh: "消息标识", read: templated(&n.MessageID)},
		{key: "order", zh: "入流顺序", read: choice(&n.Strict, strict, "fast", "strict")},
		{key: "max_bytes", zh: "最大字节数", read: integer(&n.MaxBytes, 1<<20, math.MaxInt)},
		{key: "keep", zh: "保留时间", read: duration(&n.Keep)},
		{key: "duplicates", zh: "去重时间", read: duration(&n.Duplicates)},
		{key: "ack_timeout", zh: "确认超时时间", read: timeout(&n.AckTimeout)},
		{key: "group", zh: "工作组", read: expanded(&n.Group)},
		{key: "bucket", zh: "租约存储桶", read: expanded(&n.Bucket)},
		{key: "lease_ttl", zh: "租约有效期", read: timeout(&n.LeaseTTL)},
	}
}

func replicas(s string) (int, error) {
	switch s {
	case "1", "3", "5":
		return strconv.Atoi(s)
	}
	return 0, fmt.Errorf("%q is none of 1, 3, 5", s)
}

// strict reads the order of a stream.
func strict(s string) (bool, error) {
	switch lint.Fold(s) {
	case "fast", "快速":
		return false, nil
	case "strict", "严格":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither fast nor strict", s)
}

// hostname is a variable for tests.
var hostname = os.Hostname

// ordinal reads an index, or the word ordinal, which stands for the number at the end of the host
// name of a pod of a StatefulSet, as in gateway-3.
func ordinal(to *int) readFunc {
	return func(r *reader, path string, n *yaml.Node) {
		if v := resolve(n); v.Kind != yaml.ScalarNode || lint.Fold(v.Value) != "ordinal" {
			integer(to, 0, 65534)(r, path, n)
			return
		}
		host, err := hostname()
		dash := strings.LastIndexByte(host, '-')
		number := host[dash+1:]
		i, nerr := strconv.ParseUint(number, 10, 16)
		if err != nil || dash < 1 || nerr != nil || strconv.FormatUint(i, 10) != number {
			r.fail("E126/ordinal", path, n, host)
			return
		}
		*to = int(i)
		if id := r.places["connector.general.client_id"]; id != nil && !strings.Contains(resolve(id).Value, "${") {
			r.fail("W248", path, n)
		}
	}
}
