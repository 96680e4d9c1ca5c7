//! Each limit, read off or tried in a running container.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn identity_and_rights_are_nobody_s() {
    let engine = Engine::connect().await;
    let script = "id; grep -E 'Cap|NoNewPrivs|Seccomp:|Umask' /proc/self/status; \
                  cat /proc/self/oom_score_adj; hostname; ulimit -c; ulimit -n; ulimit -Hn";
    let text = engine.script(script).await.ok();
    assert!(
        text.contains("uid=65534 gid=65534 groups=65534")
            || text.contains("uid=65534(65534) gid=65534(65534) groups=65534(65534)"),
        "{text}"
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Umask:\t0022", "500", "function", "0\n1024\n1024"] {
        assert!(text.contains(&format!("{line}\n")), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn seccomp_refuses_namespaces_and_mounts() {
    let engine = Engine::connect().await;
    for refused in
        ["unshare -U true", "unshare -m true", "unshare -n true", "mount -t tmpfs x /tmp", "chroot / true"]
    {
        let ran = engine.script(refused).await;
        assert_ne!(ran.exit.code, Some(0), "{refused}: {ran:?}");
        let said = ran.stderr.to_lowercase();
        assert!(said.contains("not permitted") || said.contains("permission denied"), "{refused}: {ran:?}");
    }
}

#[tokio::test]
async fn the_environment_is_the_image_s_and_the_spec_s() {
    let engine = Engine::connect().await;
    let text = engine.script("env").await.ok();
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert!(text.contains("GREETING=hello\n"), "{text}");
    assert_eq!(
        names,
        ["GREETING", "HOME", "HOSTNAME", "PATH", "PWD", "SHLVL", "TERM", "container"],
        "{text}"
    );
}

#[tokio::test]
async fn mounts_are_few_and_not_writable() {
    let engine = Engine::connect().await;
    std::fs::write(engine.dir.path().join("run/seen"), "").unwrap();
    let text = engine.script("cat /proc/self/mounts; ls /run/dunnage").await.ok();
    let options = |point: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.split(' ').nth(1) == Some(point));
        let line = line.unwrap_or_else(|| panic!("no {point} in {text}"));
        line.split(' ').nth(3).unwrap().split(',').map(str::to_owned).collect()
    };
    let expected = [
        ("/", &["ro"][..]),
        ("/run/dunnage", &["ro", "nosuid", "nodev", "noexec"]),
        ("/run/dunnage-init", &["ro", "nosuid", "nodev"]),
        ("/tmp", &["rw", "nosuid", "nodev", "noexec", "size=4096k"]),
        ("/shared", &["rw", "nosuid", "nodev", "noexec", "size=4096k"]),
        ("/dev/shm", &["rw", "nosuid", "nodev", "noexec", "size=4096k"]),
    ];
    for (point, wanted) in expected {
        let options = options(point);
        for option in wanted {
            assert!(options.iter().any(|o| o == option), "{point} is not {option}: {options:?}");
        }
    }
    assert!(text.ends_with("seen\n"), "{text}");
    assert!(!text.contains("/etc/hosts") && !text.contains("resolv.conf"), "{text}");
}

#[tokio::test]
async fn only_the_sized_tmpfs_can_be_written() {
    let engine = Engine::connect().await;
    let script = "for d in / /bin /etc /run /run/dunnage /dev /proc /sys /var; do \
                  if touch $d/x 2>/dev/null; then echo wrote $d; fi; done; \
                  for d in /tmp /shared /dev/shm; do dd if=/dev/zero of=$d/fill bs=64k 2>/dev/null; \
                  stat -c %s $d/fill; rm $d/fill; done; touch /tmp/a /shared/a && echo writable";
    assert_eq!(engine.script(script).await.ok(), "4194304\n4194304\n4194304\nwritable\n");
}

#[tokio::test]
async fn there_is_no_network() {
    let engine = Engine::connect().await;
    let text = engine.script("ls /sys/class/net; cat /proc/net/route | wc -l").await.ok();
    assert_eq!(text, "lo\n1\n");
    let ran = engine.script("nc -w 2 192.0.2.1 80 </dev/null").await;
    assert_ne!(ran.exit.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("unreachable"), "{ran:?}");
}

#[tokio::test]
async fn too_much_memory_is_killed_and_told() {
    let engine = Engine::connect().await;
    let ran = engine.script("exec tail /dev/zero").await;
    assert_eq!((ran.exit.code, ran.exit.oom_killed), (Some(137), true), "{ran:?}");
    let peak = ran.exit.memory_peak_bytes.unwrap();
    assert!((60 * MIB as u64..=65 * MIB as u64).contains(&peak), "{peak}");
    // A child is killed and the program goes on: told all the same.
    let ran = engine.script("tail /dev/zero; exit 0").await;
    assert_eq!((ran.exit.code, ran.exit.oom_killed), (Some(0), true), "{ran:?}");
    // What it writes to its tmpfs counts.
    let spec = ContainerSpec {
        scratch_bytes: 256 * MIB as u64,
        ..engine.spec("dd if=/dev/zero of=/tmp/x bs=1M count=100")
    };
    let ran = engine.run(&spec).await;
    assert!(ran.exit.oom_killed, "{ran:?}");
    let modest = engine.script("exit 0").await;
    assert!(
        !modest.exit.oom_killed && modest.exit.memory_peak_bytes.unwrap() < 32 * MIB as u64,
        "{modest:?}"
    );
}

#[tokio::test]
async fn memory_can_be_asked_while_it_runs() {
    let engine = Engine::connect().await;
    let (id, mut running) =
        engine
            .start(&engine.spec(
                "dd if=/dev/zero of=/shared/x bs=1M count=3 2>/dev/null; tail /dev/zero; echo; sleep 60",
            ))
            .await;
    running.output.recv().await.unwrap();
    let memory = engine.podman.memory(&id).await.unwrap();
    assert!(memory.peak_bytes >= 60 * MIB as u64 && memory.oom_kills == 1, "{memory:?}");
    engine.podman.remove(&id).await.unwrap();
    assert_eq!(engine.podman.memory(&id).await, None);
}

/// Where a cgroup's files are, by controller, in both versions.
fn cgroup_file(id: &ContainerId, controller: &str, v1: &str, v2: &str) -> String {
    let root = Path::new("/sys/fs/cgroup");
    let (start, file) = if root.join("cgroup.controllers").exists() {
        (root.to_owned(), v2)
    } else {
        (root.join(controller), v1)
    };
    let mut folders = vec![start];
    while let Some(folder) = folders.pop() {
        if folder.file_name().is_some_and(|name| name.to_string_lossy().contains(&id.0)) {
            return std::fs::read_to_string(folder.join(file)).unwrap();
        }
        let inner = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        folders.extend(inner.filter(|path| path.is_dir()));
    }
    panic!("no cgroup of {id}")
}

#[tokio::test]
async fn swap_processes_and_cpu_are_limited() {
    let engine = Engine::connect().await;
    let spin = "i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i+1)); done; echo never";
    let ran = engine.run(&engine.spec(spin)).await;
    assert!(ran.stderr.contains("fork") && !ran.stdout.contains("never"), "{ran:?}");

    let mut spec = engine.spec("echo; while :; do :; done");
    spec.limits.cpu_millis = 100;
    let (id, mut running) = engine.start(&spec).await;
    running.output.recv().await.unwrap();
    let begun = Instant::now();
    let used = || -> u64 {
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            let text = cgroup_file(&id, "cpu", "", "cpu.stat");
            let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
            usage.parse().unwrap()
        } else {
            cgroup_file(&id, "cpuacct", "cpuacct.usage", "").trim().parse::<u64>().unwrap() / 1000
        }
    };
    let before = used();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let share = (used() - before) as f64 / begun.elapsed().as_micros() as f64;
    assert!(share < 0.2, "a tenth of a core was allowed, {share:.2} used");
    let throttled = cgroup_file(&id, "cpu", "cpu.stat", "cpu.stat");
    let count = throttled.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
    assert!(count.parse::<u64>().unwrap() > 0, "{throttled}");
    // Version 1 counts memory and swap together, version 2 swap alone.
    let swap = cgroup_file(&id, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let none = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 0 } else { 64 * MIB };
    assert_eq!(swap.trim(), none.to_string());
    assert_eq!(cgroup_file(&id, "pids", "pids.max", "pids.max").trim(), "16");
    engine.podman.remove(&id).await.unwrap();
}

#[tokio::test]
async fn an_image_may_want_otherwise() {
    let engine = Engine::connect().await;
    let tag = format!("localhost/dunnage/test-{}:v1", engine.mark);
    let dockerfile = format!(
        "FROM {SHELL_IMAGE}\nUSER 0\nWORKDIR /not/there\nVOLUME /data\nENTRYPOINT [\"/nothing\"]\n\
         ENV WISH=granted\nHEALTHCHECK CMD false\nSTOPSIGNAL SIGUSR1\n"
    );
    image_of(built(&engine.podman, engine.build(&tag, &dockerfile, &[])).await.0);
    let spec =
        ContainerSpec { image: tag.clone(), ..engine.spec("id -u; pwd; echo $WISH; mount | grep -c data") };
    let ran = engine.run(&spec).await;
    assert_eq!(ran.stdout, "65534\n/not/there\ngranted\n0\n", "{ran:?}");
    engine.podman.remove_image(&tag).await.unwrap();
    assert_eq!(engine.left().await, []);
}
