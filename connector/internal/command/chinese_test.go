package command

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// Errors from below the command, in libraries and in the system, are shown in Chinese, too.
func TestErrorsInChinese(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("no PEM\n"), 0o600))
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody.Close()
	closes := serveTCP(t, func(net.Conn) {})
	refuses := scripted(t, func(p packets.Packet) []packets.Packet {
		return []packets.Packet{&packets.Connack{Code: packets.NotAuthorized}}
	})
	noise := serveTCP(t, func(c net.Conn) { c.Write([]byte{0x00, 0x00, 0x00, 0x00}); c.Read(make([]byte, 64)) })
	for _, test := range []struct{ args, says string }{
		{"pub -t a -m x -b " + nobody.Addr().String(), "TCP 连接：.*连接被拒绝"},
		{"pub -t a -m x -b " + closes, "服务端在发送 CONNACK 之前关闭了连接"},
		{"pub -t a -m x -b " + refuses, "服务端拒绝连接：未授权（返回码 5）"},
		{"pub -t a -m x -b " + noise, "服务端的应答不是 MQTT 3.1.1：.*第 0 字节：报文类型为保留值"},
		{"pub -t a -m x --cafile " + file + " -b " + closes, "服务端证书：.*中没有 PEM"},
		{"pub -t a -m x --tls -b " + closes, "TLS 握手：.*"},
		{"pub -t a/# -m x -b " + closes, "PUBLISH：Topic：包含通配符"},
		{"pub -t a -f " + dir + " -b " + closes, "是目录"},
		{"pub -t a -f " + filepath.Join(dir, "none") + " -b " + closes, "none 不存在"},
		{"pub -t a -m x -u u --pw-file " + filepath.Join(dir, "none") + " -b " + closes, "保密内容：文件 .*不存在"},
		{"pub -t a -m x --proxy http://" + closes + " -b mq.example.com", "代理 .*(对方关闭了连接|连接被对方重置)"},
		{"sub -t a# -b " + closes, "“#”必须独占最后一级"},
		{"pub -t a -m x -k x", `--keepalive 为 "x"：应为整数`},
		{"store ls " + filepath.Join(dir, "none"), "none 不存在"},
	} {
		r := mqtt311(t, append(strings.Fields(test.args), "--lang", "zh")...)
		require.NotZero(t, r.code, test.args)
		require.Regexp(t, test.says, r.err, test.args)
		told := regexp.MustCompile(`"[^"]*"|'[^']*'|/\S+|mqtt311 \S+|--[a-z-]+|\w*[A-Z0-9]\w*`).ReplaceAllString(r.err, "")
		require.NotRegexp(t, `[a-z]{3,} [a-z]{2,}`, told, test.args)
	}
}
