#!/bin/sh
# Workers on this machine, each in a window of tmux:  ./workers.tmux.sh [WORKERS] [STUDY]
#
#   tmux attach -t keratune    looks at them; Ctrl-b d leaves them alone again
#   keratune show STUDY        how the study stands
#
# Closing a window with Ctrl-C puts its trial back into the queue. Start the script again, with
# another number too, and the study goes on.
set -eu

workers="${1:-2}"
study="${2:-runs/digits}"
cd "$(dirname "$0")"

begin="--objective val_accuracy --tuner bayesian --max-trials ${MAX_TRIALS:-50} --seed 0"
command="keratune worker '$study' train.py:build_model $begin"

# A GPU for each worker where there are any, else its share of the cores.
gpus="$(nvidia-smi --list-gpus 2>/dev/null | wc -l)"
threads=$(($(getconf _NPROCESSORS_ONLN) / workers))
[ "$threads" -ge 1 ] || threads=1

for worker in $(seq 0 $((workers - 1))); do
    own="OMP_NUM_THREADS=$threads"
    [ "$gpus" -eq 0 ] || own="$own CUDA_VISIBLE_DEVICES=$((worker % gpus))"
    run="env $own $command; echo \"worker $worker has ended with \$?\"; exec sh"
    if [ "$worker" -eq 0 ]; then
        tmux new-session -d -s keratune "$run"
    else
        tmux new-window -t keratune "$run"
    fi
done
