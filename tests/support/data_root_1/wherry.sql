CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    definition BLOB NOT NULL,
    state BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE states (
    id TEXT PRIMARY KEY,
    state BLOB NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER containers_end AFTER DELETE ON containers BEGIN
    DELETE FROM states WHERE id = old.id;
END;
CREATE TABLE layers (
    number INTEGER PRIMARY KEY,
    chain_id TEXT NOT NULL UNIQUE,
    diff_id TEXT NOT NULL,
    parent TEXT,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL
);
CREATE TABLE seals (
    number INTEGER PRIMARY KEY,
    seal TEXT NOT NULL
);
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,
    added INTEGER NOT NULL,
    parts TEXT NOT NULL,
    built_in INTEGER NOT NULL,
    removed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE names (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE indexes (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE origins (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE TABLE packed_layers (
    blob TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE refs (
    target TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (target, owner)
) WITHOUT ROWID;
CREATE INDEX refs_by_owner ON refs (owner);
CREATE TABLE changes (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL);
CREATE TABLE networks (id TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE endpoints (id TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE network_words (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO containers VALUES ('a7aea2a5277d8ece81dd9af117fc54855910ed3d48cc83fcda6792981e0d1338', 'created', CAST('{"id":"a7aea2a5277d8ece81dd9af117fc54855910ed3d48cc83fcda6792981e0d1338","created":"2026-11-29T18:13:42.532813611Z","image":"small:1","image_id":"sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42","platform":"linux","argv":["sleep","1000"],"config":{"Hostname":"a7aea2a5277d","Domainname":null,"User":"","AttachStdin":null,"AttachStdout":null,"AttachStderr":null,"ExposedPorts":null,"Tty":null,"OpenStdin":null,"StdinOnce":null,"Env":[],"Cmd":["sleep","1000"],"Healthcheck":null,"ArgsEscaped":null,"Image":"small:1","Volumes":null,"WorkingDir":"","Entrypoint":null,"NetworkDisabled":null,"MacAddress":null,"OnBuild":null,"Labels":{"as":"created"},"StopSignal":null,"StopTimeout":null,"Shell":null},"host":{"CpuShares":null,"Memory":null,"NanoCpus":null,"CgroupParent":null,"BlkioWeight":null,"BlkioWeightDevice":null,"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":null,"CpuQuota":null,"CpuRealtimePeriod":null,"CpuRealtimeRuntime":null,"CpusetCpus":null,"CpusetMems":null,"CpuCount":null,"CpuPercent":null,"IOMaximumIOps":null,"IOMaximumBandwidth":null,"Devices":null,"DeviceCgroupRules":null,"DeviceRequests":null,"KernelMemory":null,"MemoryReservation":null,"MemorySwap":null,"MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":null,"Binds":null,"ContainerIDFile":null,"LogConfig":{"Type":"json-file","Config":{"max-size":"20m","max-file":"5"}},"NetworkMode":"bridge","PortBindings":null,"RestartPolicy":null,"AutoRemove":null,"VolumeDriver":null,"VolumesFrom":null,"Mounts":null,"ConsoleSize":null,"Annotations":null,"CapAdd":null,"CapDrop":null,"CgroupnsMode":"private","Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":null,"Links":null,"OomScoreAdj":null,"PidMode":null,"Privileged":null,"PublishAllPorts":null,"ReadonlyRootfs":null,"SecurityOpt":null,"StorageOpt":null,"Tmpfs":null,"UTSMode":null,"UsernsMode":null,"ShmSize":67108864,"Sysctls":null,"Runtime":"wherry","Isolation":null,"MaskedPaths":null,"ReadonlyPaths":null,"Init":null},"mounts":[],"networks":{"bridge":{"NetworkID":"dcbeaff13b7a8a54b55ad10181b28cfefa4fd4f8a356e210ea275054bc64c076"}}}' AS BLOB), CAST('{"status":"created","pid":0,"exit_code":0,"error":"","oom_killed":false,"started_at":"0001-01-01T00:00:00Z","finished_at":"0001-01-01T00:00:00Z","restart_count":0,"stopped_by_hand":false,"health":null}' AS BLOB));
INSERT INTO containers VALUES ('b711c9aca932e537e3737c22fae5e7e34b2f5577990f4612a17997078aa3c495', 'exited', CAST('{"id":"b711c9aca932e537e3737c22fae5e7e34b2f5577990f4612a17997078aa3c495","created":"2026-11-29T18:13:42.543663545Z","image":"small:1","image_id":"sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42","platform":"linux","argv":["true"],"config":{"Hostname":"b711c9aca932","Domainname":null,"User":"","AttachStdin":null,"AttachStdout":null,"AttachStderr":null,"ExposedPorts":null,"Tty":null,"OpenStdin":null,"StdinOnce":null,"Env":[],"Cmd":["true"],"Healthcheck":null,"ArgsEscaped":null,"Image":"small:1","Volumes":null,"WorkingDir":"","Entrypoint":null,"NetworkDisabled":null,"MacAddress":null,"OnBuild":null,"Labels":{"as":"exited"},"StopSignal":null,"StopTimeout":null,"Shell":null},"host":{"CpuShares":null,"Memory":null,"NanoCpus":null,"CgroupParent":null,"BlkioWeight":null,"BlkioWeightDevice":null,"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":null,"CpuQuota":null,"CpuRealtimePeriod":null,"CpuRealtimeRuntime":null,"CpusetCpus":null,"CpusetMems":null,"CpuCount":null,"CpuPercent":null,"IOMaximumIOps":null,"IOMaximumBandwidth":null,"Devices":null,"DeviceCgroupRules":null,"DeviceRequests":null,"KernelMemory":null,"MemoryReservation":null,"MemorySwap":null,"MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":null,"Binds":null,"ContainerIDFile":null,"LogConfig":{"Type":"json-file","Config":{"max-size":"20m","max-file":"5"}},"NetworkMode":"bridge","PortBindings":null,"RestartPolicy":null,"AutoRemove":null,"VolumeDriver":null,"VolumesFrom":null,"Mounts":null,"ConsoleSize":null,"Annotations":null,"CapAdd":null,"CapDrop":null,"CgroupnsMode":"private","Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":null,"Links":null,"OomScoreAdj":null,"PidMode":null,"Privileged":null,"PublishAllPorts":null,"ReadonlyRootfs":null,"SecurityOpt":null,"StorageOpt":null,"Tmpfs":null,"UTSMode":null,"UsernsMode":null,"ShmSize":67108864,"Sysctls":null,"Runtime":"wherry","Isolation":null,"MaskedPaths":null,"ReadonlyPaths":null,"Init":null},"mounts":[],"networks":{"bridge":{"NetworkID":"dcbeaff13b7a8a54b55ad10181b28cfefa4fd4f8a356e210ea275054bc64c076"}}}' AS BLOB), CAST('{"status":"created","pid":0,"exit_code":0,"error":"","oom_killed":false,"started_at":"0001-01-01T00:00:00Z","finished_at":"0001-01-01T00:00:00Z","restart_count":0,"stopped_by_hand":false,"health":null}' AS BLOB));
INSERT INTO containers VALUES ('c294a9896d37607894226483a5d1327e179f44a04c7515d994bd123381764de1', 'running', CAST('{"id":"c294a9896d37607894226483a5d1327e179f44a04c7515d994bd123381764de1","created":"2026-11-29T18:13:43.049589645Z","image":"small:1","image_id":"sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42","platform":"linux","argv":["sleep","1000"],"config":{"Hostname":"c294a9896d37","Domainname":null,"User":"","AttachStdin":null,"AttachStdout":null,"AttachStderr":null,"ExposedPorts":null,"Tty":null,"OpenStdin":null,"StdinOnce":null,"Env":[],"Cmd":["sleep","1000"],"Healthcheck":null,"ArgsEscaped":null,"Image":"small:1","Volumes":null,"WorkingDir":"","Entrypoint":null,"NetworkDisabled":null,"MacAddress":null,"OnBuild":null,"Labels":{"as":"running"},"StopSignal":null,"StopTimeout":null,"Shell":null},"host":{"CpuShares":null,"Memory":null,"NanoCpus":null,"CgroupParent":null,"BlkioWeight":null,"BlkioWeightDevice":null,"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":null,"CpuQuota":null,"CpuRealtimePeriod":null,"CpuRealtimeRuntime":null,"CpusetCpus":null,"CpusetMems":null,"CpuCount":null,"CpuPercent":null,"IOMaximumIOps":null,"IOMaximumBandwidth":null,"Devices":null,"DeviceCgroupRules":null,"DeviceRequests":null,"KernelMemory":null,"MemoryReservation":null,"MemorySwap":null,"MemorySwappiness":null,"OomKillDisable":null,"PidsLimit":null,"Ulimits":null,"Binds":null,"ContainerIDFile":null,"LogConfig":{"Type":"json-file","Config":{"max-size":"20m","max-file":"5"}},"NetworkMode":"lan","PortBindings":null,"RestartPolicy":null,"AutoRemove":null,"VolumeDriver":null,"VolumesFrom":null,"Mounts":null,"ConsoleSize":null,"Annotations":null,"CapAdd":null,"CapDrop":null,"CgroupnsMode":"private","Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":null,"Links":null,"OomScoreAdj":null,"PidMode":null,"Privileged":null,"PublishAllPorts":null,"ReadonlyRootfs":null,"SecurityOpt":null,"StorageOpt":null,"Tmpfs":null,"UTSMode":null,"UsernsMode":null,"ShmSize":67108864,"Sysctls":null,"Runtime":"wherry","Isolation":null,"MaskedPaths":null,"ReadonlyPaths":null,"Init":null},"mounts":[],"networks":{"lan":{"NetworkID":"cd5f7601ca2ca3fff3467bb97200eb38cbcce2051f34e5eba12e607adae04058"}}}' AS BLOB), CAST('{"status":"created","pid":0,"exit_code":0,"error":"","oom_killed":false,"started_at":"0001-01-01T00:00:00Z","finished_at":"0001-01-01T00:00:00Z","restart_count":0,"stopped_by_hand":false,"health":null}' AS BLOB));
INSERT INTO states VALUES ('b711c9aca932e537e3737c22fae5e7e34b2f5577990f4612a17997078aa3c495', CAST('{"status":"exited","pid":0,"exit_code":0,"error":"","oom_killed":false,"started_at":"2026-11-29T18:13:43.044357149Z","finished_at":"2026-11-29T18:13:43.045955849Z","restart_count":0,"stopped_by_hand":false,"health":null}' AS BLOB));
INSERT INTO states VALUES ('c294a9896d37607894226483a5d1327e179f44a04c7515d994bd123381764de1', CAST('{"status":"running","pid":12430,"exit_code":0,"error":"","oom_killed":false,"started_at":"2026-11-29T18:13:43.17300936Z","finished_at":"0001-01-01T00:00:00Z","restart_count":0,"stopped_by_hand":false,"health":null}' AS BLOB));
INSERT INTO layers VALUES (1, 'sha256:4ed31fdf0c43aecfa3d1621740732007c8c90047a23bdf3b7daad1004aa75ee7', 'sha256:4ed31fdf0c43aecfa3d1621740732007c8c90047a23bdf3b7daad1004aa75ee7', NULL, 544455, 1795976022140048216);
INSERT INTO layers VALUES (2, 'sha256:16a8eac64e2598cf71660fc6bea434cdfb1c5f4b8c612f0a79f58cf45dee7866', 'sha256:16a8eac64e2598cf71660fc6bea434cdfb1c5f4b8c612f0a79f58cf45dee7866', NULL, 1982256, 1795976022380438785);
INSERT INTO seals VALUES (1, 'eb8a8c44e1a7ee4df42a8e590a136d32190d6654cd7385a373fccf7274acc8b4');
INSERT INTO seals VALUES (2, 'e82bb66403df5024643e6b1bfa2f11ed647135dcc0752a2733f7d0bd99be8300');
INSERT INTO images VALUES ('sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42', 'sha256:f11b136ad66031c883ab3727e34effb7025ade419f8824851af133f2c4bb3e49', 1795976022425993935, '[]', 0, 0);
INSERT INTO images VALUES ('sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614', 'sha256:9782abece1f6a9d11227aeae0a7ae05509422a931089c6daf62e0e40be116d3b', 1795976022215669375, '["/usr"]', 1, 0);
INSERT INTO names VALUES ('docker.io/library/host:latest', 'sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614');
INSERT INTO names VALUES ('docker.io/library/small:1', 'sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42');
INSERT INTO names VALUES ('docker.io/team/small:2', 'sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42');
INSERT INTO refs VALUES ('blob sha256:16a8eac64e2598cf71660fc6bea434cdfb1c5f4b8c612f0a79f58cf45dee7866', 'sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42');
INSERT INTO refs VALUES ('blob sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42', 'sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42');
INSERT INTO refs VALUES ('blob sha256:f11b136ad66031c883ab3727e34effb7025ade419f8824851af133f2c4bb3e49', 'sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42');
INSERT INTO refs VALUES ('layer sha256:16a8eac64e2598cf71660fc6bea434cdfb1c5f4b8c612f0a79f58cf45dee7866', 'sha256:4b431f64dd66bbd87a49ed1990329c1cb627628b5d61b086abe6e778e9e8fe42');
INSERT INTO refs VALUES ('blob sha256:4ed31fdf0c43aecfa3d1621740732007c8c90047a23bdf3b7daad1004aa75ee7', 'sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614');
INSERT INTO refs VALUES ('blob sha256:9782abece1f6a9d11227aeae0a7ae05509422a931089c6daf62e0e40be116d3b', 'sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614');
INSERT INTO refs VALUES ('blob sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614', 'sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614');
INSERT INTO refs VALUES ('layer sha256:4ed31fdf0c43aecfa3d1621740732007c8c90047a23bdf3b7daad1004aa75ee7', 'sha256:e39ba07f6953c01218b3e9d91f47c4f75736e3806db0b19dae760656beaf2614');
INSERT INTO changes VALUES (0, 9);
INSERT INTO networks VALUES ('0024c79170cc105db498765016a322970522e224a07c650ed1e5cc13d737bf9c', CAST('{"id":"0024c79170cc105db498765016a322970522e224a07c650ed1e5cc13d737bf9c","name":"none","driver":"null","created":1795976021240870360,"ipv4":false,"ipv6":false,"internal":false,"attachable":false,"scope":"local","options":{},"labels":{},"ipam_driver":"default","ipam_options":{},"subnets":[],"chosen":false,"bridge":"","borrowed":false,"mtu":1500}' AS BLOB));
INSERT INTO networks VALUES ('b5f6b2252b8a08c47ab70006dbd729b75e7ef2a3e5b5c7e0e266fd679419b09c', CAST('{"id":"b5f6b2252b8a08c47ab70006dbd729b75e7ef2a3e5b5c7e0e266fd679419b09c","name":"host","driver":"host","created":1795976021240825294,"ipv4":false,"ipv6":false,"internal":false,"attachable":false,"scope":"local","options":{},"labels":{},"ipam_driver":"default","ipam_options":{},"subnets":[],"chosen":false,"bridge":"","borrowed":false,"mtu":1500}' AS BLOB));
INSERT INTO networks VALUES ('cd5f7601ca2ca3fff3467bb97200eb38cbcce2051f34e5eba12e607adae04058', CAST('{"id":"cd5f7601ca2ca3fff3467bb97200eb38cbcce2051f34e5eba12e607adae04058","name":"lan","driver":"bridge","created":1795976022517828448,"ipv4":true,"ipv6":false,"internal":false,"attachable":false,"scope":"local","options":{},"labels":{"team":"red"},"ipam_driver":"default","ipam_options":{},"subnets":[{"network":"10.241.7.0/24","gateway":"10.241.7.1","range":null,"auxiliary":{}}],"chosen":true,"bridge":"br-cd5f7601ca2c","borrowed":false,"mtu":1400}' AS BLOB));
INSERT INTO networks VALUES ('dcbeaff13b7a8a54b55ad10181b28cfefa4fd4f8a356e210ea275054bc64c076', CAST('{"id":"dcbeaff13b7a8a54b55ad10181b28cfefa4fd4f8a356e210ea275054bc64c076","name":"bridge","driver":"bridge","created":1795976021142853243,"ipv4":true,"ipv6":false,"internal":false,"attachable":false,"scope":"local","options":{"com.docker.network.bridge.default_bridge":"true","com.docker.network.bridge.enable_icc":"true","com.docker.network.bridge.enable_ip_masquerade":"true","com.docker.network.bridge.host_binding_ipv4":"0.0.0.0","com.docker.network.bridge.name":"wh0000ce0","com.docker.network.driver.mtu":"1400"},"labels":{},"ipam_driver":"default","ipam_options":{},"subnets":[{"network":"172.16.0.0/24","gateway":"172.16.0.1","range":null,"auxiliary":{}}],"chosen":false,"bridge":"wh0000ce0","borrowed":false,"mtu":1400}' AS BLOB));
INSERT INTO endpoints VALUES ('da86d6030527e3a3fb3829674dc8cd4596e061ccbae05d0ca2383dc750d95986', CAST('{"id":"da86d6030527e3a3fb3829674dc8cd4596e061ccbae05d0ca2383dc750d95986","network_id":"cd5f7601ca2ca3fff3467bb97200eb38cbcce2051f34e5eba12e607adae04058","owner":"c294a9896d37607894226483a5d1327e179f44a04c7515d994bd123381764de1","owner_name":"running","interface":"eth0","host_interface":"wvda86d6030527","mac":"02:42:0a:f1:07:02","ipv4":"10.241.7.2","ipv4_prefix":24,"ipv6":null,"ipv6_prefix":0,"link_local":[],"gateway4":"10.241.7.1","gateway6":null,"aliases":[],"links":[],"openings":[],"driver_options":{},"published":[],"priority":0}' AS BLOB));
INSERT INTO network_words VALUES ('ula', 'fd03:d6d2:a936::/48');
PRAGMA user_version=1;
