module github.com/mqtt311/mqtt311

go 1.25.0

require (
	github.com/gorilla/websocket v1.5.3
	github.com/stretchr/testify v1.12.1
	golang.org/x/net v0.56.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
