// Package cnipb holds the messages and the ttrpc service between the CNI plugin and the agent.
//
// Everything else in it is generated from cni.proto.
package cnipb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-ttrpc_out=. --go-ttrpc_opt=paths=source_relative cni.proto
