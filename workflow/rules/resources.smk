# What jobs ask a queue or this machine for.

from pipeline_lib.study.cost import asked_for
from pipeline_lib.training.cards import cards_here
from pipeline_lib.training.device import asks_for_gpu, check_device, granted_gpu


def gets_gpu(rulename):
    """Whether the profile or `--set-resources` grants a GPU to every job of this rule."""
    granted = workflow.resource_settings.overwrite_resources.get(rulename, {})
    return any(asks_for_gpu(name, granted[name].raw) for name in granted.keys())


def block_mem_mb(wildcards, attempt, rulename):
    """The memory of the host that the job's block asks for, in MB."""
    return block_asks_for("mem_mb", wildcards, attempt, rulename)


def block_runtime(wildcards, attempt, rulename):
    """The time that the job's block asks for, in minutes."""
    return block_asks_for("runtime", wildcards, attempt, rulename)


def block_asks_for(resource, wildcards, attempt, rulename):
    """What the job's block asks a queue for.

    On `device: auto` it is that of a GPU where the job gets one and its kind takes it, and else
    that of CPU cores.
    """
    experiment, b, threads = (
        experiment_of(wildcards),
        int(wildcards.b),
        study.compute.threads,
    )
    device = experiment.model.device_wanted(study.compute.device)
    if device != "cpu" and gets_gpu(rulename):
        device = "cuda"
    return asked_for(experiment, b, attempt, device, threads)[resource]


def block_gpu_card(wildcards):
    """Whether the job holds one of the GPUs of this machine: 1 or 0."""
    wanted = experiment_of(wildcards).model.device_wanted(study.compute.device)
    return int(workflow.local_exec and wanted != "cpu" and len(GPU_CARDS) > 0)


def device_of_job(job):
    """The device that a training job wants, and what gives it a GPU."""
    wanted = experiment_of(job.wildcards).model.device_wanted(study.compute.device)
    return wanted, granted_gpu(dict(job.resources.items()), os.environ)


# As many GPU jobs at once as there are GPUs, where jobs run here; each takes one of its own.
GPU_CARDS = cards_here(os.environ)
if workflow.local_exec and GPU_CARDS and "gpu_card" not in workflow.global_resources:
    workflow.register_resource("gpu_card", len(GPU_CARDS))


def own_code_mem_mb(wildcards, attempt):
    """The memory that a job that runs the user's own code asks for, in MB."""
    return 8000 * 2 ** (attempt - 1)


def own_code_runtime(wildcards, attempt):
    """The time that the user's own code gets for one of its initial weights, in minutes."""
    return 30 * 2 ** (attempt - 1)
