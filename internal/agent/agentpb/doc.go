// Package agentpb holds the messages between a running agent and the operator's command line (gRPC
// over a unix socket). The schema, agent.proto, is the documentation.
package agentpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative agent.proto
