// Command podroute-e2e tests podroute on a real Kubernetes cluster, on one machine, with nothing but
// Debian's packages and Go modules: no registry, no virtual machine, no container engine but containerd.
// `make e2e` runs all of it, `make cluster` leaves a cluster up; docs/e2e.md tells the rest.
//
//	binaries    builds Kubernetes and CoreDNS from their modules (kubernetes/, coredns/)
//	images      makes the containers' images, from those programs and Debian's
//	cluster     machines, network, control plane, nodes, podroute
//	traffic     the ping and the HTTP load under which things are broken
//	scenarios   what podroute promises, each a function
//	upstream    the conformance tests of Kubernetes' sig-network
//	report      table, JUnit, summary.json
//
// # To add a scenario
//
// Write a function in scenarios/ and name it in a group's list. All, in scenario.go, lists the groups of the cluster
// "tor"; OnPools, in pools.go, those of the cluster "pools".
//
//	{
//		Name: "agent-killed", Shows: "an agent is killed and no packet is lost", Disturbs: true,
//		Run: agentKilled,
//	}
//
//	func agentKilled(ctx context.Context, t *T) error {
//		pods, err := t.StartPods(ctx, Want{Name: "a", Node: "n1"}, Want{Name: "b", Node: "n3"})
//		if err != nil {
//			return err
//		}
//		ping, err := t.StartPing(ctx, pods[0], pods[1].IPv4())
//		if err != nil {
//			return err
//		}
//		// ... break something and wait until it has mended itself ...
//		tally, err := ping.Stop()
//		t.Note("ping: %v", tally) // shown in the report
//		if err == nil && tally.Lost > 0 {
//			err = fmt.Errorf("%v", tally)
//		}
//		return err
//	}
//
// T is the cluster (Kubectl, Apply, Get, On, Service, NodesReady, StartNode, Lab) and the scenario's own
// namespace. Disturbs says that others would notice; such a scenario runs alone and puts back what it has
// changed. To work on one:
//
//	make cluster
//	make e2e-harness && build/podroute-e2e run -existing -upstream=false -run agent-killed
package main
