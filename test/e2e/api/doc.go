// Package api tests what podroute says to the Kubernetes API, and what it hears, against a real API server.
package api
