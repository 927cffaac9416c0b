package chinese

import "syscall"

// systemErrors are the system errors that a user can meet, by number, because their texts differ between systems.
var systemErrors = map[syscall.Errno]string{
	syscall.E2BIG: "参数列表过长", syscall.EACCES: "没有权限", syscall.EADDRINUSE: "地址已被占用", syscall.EADDRNOTAVAIL: "本机没有该地址",
	syscall.EAFNOSUPPORT: "不支持该地址族", syscall.EAGAIN: "资源暂不可用", syscall.EBADF: "文件描述符无效", syscall.EBUSY: "设备或资源正忙",
	syscall.ECANCELED: "操作已取消", syscall.ECHILD: "没有子进程", syscall.ECONNABORTED: "连接被中止", syscall.ECONNREFUSED: "连接被拒绝",
	syscall.ECONNRESET: "连接被对方重置", syscall.EDEADLK: "会造成死锁", syscall.EDESTADDRREQ: "须有目标地址", syscall.EDOM: "超出定义域", syscall.EDQUOT: "超出磁盘配额", syscall.EEXIST: "文件已存在",
	syscall.EFAULT: "地址无效", syscall.EFBIG: "文件过大", syscall.EHOSTDOWN: "主机已关闭", syscall.EHOSTUNREACH: "主机不可达", syscall.EILSEQ: "字节序列不合法", syscall.EINPROGRESS: "操作正在进行",
	syscall.EINTR: "系统调用被中断", syscall.EINVAL: "参数无效", syscall.EIO: "读写设备出错", syscall.EISCONN: "套接字已连接", syscall.EISDIR: "是目录",
	syscall.ELOOP: "符号链接层数过多", syscall.EMFILE: "本进程打开的文件过多", syscall.EMLINK: "链接过多", syscall.EMSGSIZE: "消息过长", syscall.ENAMETOOLONG: "文件名过长",
	syscall.ENETDOWN: "网络已断开", syscall.ENETRESET: "网络断开，连接被重置", syscall.ENETUNREACH: "网络不可达", syscall.ENFILE: "系统打开的文件过多",
	syscall.ENOBUFS: "缓冲空间不足", syscall.ENODEV: "没有该设备", syscall.ENOENT: "文件或目录不存在", syscall.ENOEXEC: "不是可执行文件", syscall.ENOLCK: "没有可用的锁",
	syscall.ENOMEM: "内存不足", syscall.ENOPROTOOPT: "不支持该协议选项", syscall.ENOSPC: "磁盘空间不足", syscall.ENOSYS: "系统不支持该功能", syscall.ENOTBLK: "不是块设备",
	syscall.ENOTCONN: "套接字未连接", syscall.ENOTDIR: "不是目录", syscall.ENOTEMPTY: "目录非空", syscall.ENOTSOCK: "不是套接字", syscall.ENOTTY: "不是终端",
	syscall.ENXIO: "没有该设备或地址", syscall.EOPNOTSUPP: "不支持该操作", syscall.EOVERFLOW: "数值过大", syscall.EPERM: "不允许该操作", syscall.EPIPE: "管道已断开",
	syscall.EPROTO: "协议错误", syscall.EPROTONOSUPPORT: "不支持该协议", syscall.EPROTOTYPE: "协议类型不符", syscall.ERANGE: "数值超出范围", syscall.EROFS: "文件系统只读",
	syscall.ESPIPE: "不能定位", syscall.ESRCH: "没有该进程", syscall.ESTALE: "文件句柄已失效", syscall.ETIMEDOUT: "连接超时", syscall.ETXTBSY: "文件正在被执行",
	syscall.EXDEV: "跨越文件系统",
}

func systemTexts() map[string]string {
	texts := make(map[string]string, 512)
	for errno, zh := range systemErrors {
		texts[errno.Error()] = zh
	}
	return texts
}
